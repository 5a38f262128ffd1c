"""BatchNorm beside objectives that see one example at a time.

One pass over the whole batch takes the moments; encoder and decoder then are functions of a single
example with these moments given, so that a decoder's Jacobian is of its own example alone. The
gradient in the parameters goes through the moments too, as BatchNorm's does.

Where an objective decodes samples of the posterior, the decoder's moments are those of one other
sample of each image, independent of its own: an objective may draw any number of them.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.batch import example_keys

_EXAMPLES = "examples"
_MOMENTS = 2**31 - 2  # folded into an example's key for the latent that the moments are taken at


def batch_moments(
    model: nn.Module,
    variables: dict[str, Any],
    rng: Array,
    x: Array,
    *,
    at_center: bool,
    axis_name: str | None,
) -> Any:
    """The collection "batch_stats" with the moments of one batch; empty without BatchNorm.

    Args:
        model: takes `axes` in `encode` and `decode_given`.
        variables: its "params" and "batch_stats", the latter for its structure alone.
        rng: of the step.
        x: one device's share of the batch, [b, ...].
        at_center: whether the decoder is applied to the posterior's center, else to one sample.
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
    """Running averages after one more batch, that of a step from 0 on.

    The decay rises as (1 + step) / (10 + step) to the one given, so that short runs are not left
    with the averages of their start.
    """
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, averages, moments)
