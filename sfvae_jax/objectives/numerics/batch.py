"""Keys and means of a batch that several devices share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import check_key
from sfvae_jax.objectives.numerics.precision import wide


def example_keys(rng: Array, share: int, axis_name: str | None = None) -> Array:
    """Returns `fold_in(rng, i)` for each place i of this device's examples in the whole batch.

    Args:
        rng: a key of the batch; or the examples' own keys [share], which are returned unchanged, so
            that a part of the batch draws the same noise as it does within the whole batch.
        share: number of examples on this device.
        axis_name: axis over which the batch is shared, or None.

    Raises:
        ArgumentError: if rng is not a key.
    """
    check_key(rng)
    of_the_batch = 0 if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else 1
    if rng.ndim > of_the_batch:
        return rng
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * share
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, first + jnp.arange(share))


def batch_mean(values: Array, axis_name: str | None = None) -> Array:
    """The mean over the leading axis and, if the batch is shared, over the devices; in 32 bits."""
    mean = jnp.mean(wide(values), axis=0)
    return mean if axis_name is None else jax.lax.pmean(mean, axis_name)


def whole_batch(values: Array, axis_name: str | None = None) -> Array:
    """The examples of all devices, [B, ...], in the order of the devices."""
    return values if axis_name is None else jax.lax.all_gather(values, axis_name, tiled=True)
