"""BatchNorm for objectives that see one example at a time.

One pass over the whole batch computes the moments. Encoder and decoder then are functions of a
single example with these moments fixed, so that the Jacobian of a decoder depends on one example
alone. As in any BatchNorm, the gradient with respect to the parameters includes the moments.

If an objective decodes samples of the posterior, the decoder's moments are computed from one sample
of each example that is independent of the objective's own samples, however many these are.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.models import Model
from sfvae_jax.objectives.numerics.batch import example_keys

_EXAMPLES = "examples"
_MOMENTS = 2**31 - 2  # folded into an example's key: its latent for the moments is independent


def batch_moments(
    model: Model,
    variables: dict[str, Any],
    rng: Array,
    x: Array,
    *,
    at_center: bool,
    axis_name: str | None,
) -> Any:
    """Computes the collection "batch_stats" of one batch; it is empty without BatchNorm.

    Args:
        model: its methods `encode` and `decode_given` take `axes`.
        variables: its "params" and "batch_stats"; only the structure of the latter is used.
        rng: key of the step.
        x: one device's share of the batch, [b, ...].
        at_center: whether the decoder is applied to the posterior's center; otherwise to a sample.
        axis_name: axis over which the batch is shared, or None.
    """
    if not variables.get("batch_stats"):
        return {}
    axes = (_EXAMPLES,) if axis_name is None else (_EXAMPLES, axis_name)

    def apply(statistics: Any, method: str, *arguments: Array) -> tuple[Any, Any]:
        given = {**variables, "batch_stats": statistics}
        out, changed = model.apply(given, *arguments, axes, method=method, mutable=["batch_stats"])
        return out, changed["batch_stats"]

    def example(key: Array, x: Array) -> Any:
        posterior, statistics = apply(variables["batch_stats"], "encode", x)
        if at_center:
            z = posterior.center()
        else:
            z, _ = posterior.sample_and_log_prob(jax.random.fold_in(key, _MOMENTS))
        return apply(statistics, "decode_given", z, x)[1]

    keys = example_keys(rng, x.shape[0], axis_name)
    return jax.vmap(example, out_axes=None, axis_name=_EXAMPLES)(keys, x)


def moving_average(averages: Any, moments: Any, step: Array | int, decay: float) -> Any:
    """Updates running averages with the moments of the batch of a step, counted from 0.

    The decay rises as (1 + step) / (10 + step) up to the given one, so that the averages of short
    runs are not dominated by their start.
    """
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: kept * old + (1.0 - kept) * new, averages, moments)
