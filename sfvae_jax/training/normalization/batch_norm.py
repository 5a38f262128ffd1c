"""BatchNorm for objectives that see one example at a time.

One pass over the whole batch computes the moments. With these moments fixed, the encoder and the
decoder are functions of a single example, so that the Jacobian of a decoder depends on one example
alone. As in any BatchNorm, the gradient with respect to the parameters includes the moments.

If an objective decodes samples of the posterior, the decoder's moments are computed from one extra
sample for each example, which is independent of the objective's own samples.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.models import Model
from sfvae_jax.objectives.numerics.batch import example_keys
from sfvae_jax.objectives.numerics.streams import ExampleStream, stream_key

_EXAMPLES = "examples"


def batch_moments(
    model: Model,
    variables: dict[str, Any],
    rng: Array,
    x: Array,
    *,
    at_center: bool,
    axis_name: str | None,
) -> Any:
    """Computes the collection "batch_stats" of one batch, which is empty without BatchNorm.

    Args:
        model: the model, whose methods `encode` and `decode_given` take `axes`.
        variables: its "params" and "batch_stats"; of the latter only the structure is used.
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
            z, _ = posterior.sample_and_log_prob(stream_key(key, ExampleStream.MOMENTS))
        return apply(statistics, "decode_given", z, x)[1]

    keys = example_keys(rng, x.shape[0], axis_name)
    return jax.vmap(example, out_axes=None, axis_name=_EXAMPLES)(keys, x)


def moving_average(averages: Any, moments: Any, step: Array | int, decay: float) -> Any:
    """Updates running averages with the moments of the batch of a step, counted from 0."""
    kept = decay_at(step, decay)
    return jax.tree.map(lambda old, new: kept * old + (1.0 - kept) * new, averages, moments)


def decay_at(step: Array | int, decay: float) -> Array:
    """Returns the decay of an average at a step, counted from 0.

    It is (1 + step) / (10 + step) until this reaches `decay`, so that the initial values do not
    dominate the averages of short runs.
    """
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))
