"""Keys and means of a batch that several devices share."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import ArgumentError, check_key
from sfvae_jax.objectives.numerics.precision import wide


def example_keys(rng: Array, share: int, axis_name: str | None = None) -> Array:
    """Returns `fold_in(rng, i)` for each place i of this device's examples in the whole batch.

    Args:
        rng: a key of the batch; or the examples' own keys [share], which are returned unchanged, so
            that a part of the batch draws the same noise as it does within the whole batch.
        share: number of examples on this device.
        axis_name: axis over which the batch is shared, or None. It is also checked if rng holds the
            examples' own keys.

    Raises:
        ArgumentError: if rng is not a key, or the axis is one of `jax.shard_map` with `check_vma`.
    """
    check_key(rng)
    _check_axis(axis_name)
    of_the_batch = 0 if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else 1
    if rng.ndim > of_the_batch:
        return rng
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * share
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, first + jnp.arange(share))


def batch_mean(values: Array, axis_name: str | None = None) -> Array:
    """The mean over the leading axis and, if the batch is shared, over the devices; in 32 bits."""
    _check_axis(axis_name)
    mean = jnp.mean(wide(values), axis=0)
    return mean if axis_name is None else jax.lax.pmean(mean, axis_name)


def whole_batch(values: Array, axis_name: str | None = None) -> Array:
    """The examples of all devices, [B, ...], in the order of the devices."""
    _check_axis(axis_name)
    return values if axis_name is None else jax.lax.all_gather(values, axis_name, tiled=True)


def varying_axes(value: Array) -> frozenset[str]:
    """The axes of `jax.shard_map` over which a value may vary; none without `check_vma`."""
    kind: Any = jax.typeof(value)
    if hasattr(kind, "vma"):  # jax 0.8 and 0.9
        return kind.vma
    return getattr(getattr(kind, "mat", None), "varying", frozenset())


def _check_axis(axis_name: str | None) -> None:
    """Refuses `jax.shard_map` with `check_vma`, JAX's default.

    The gradient of parameters that all devices share is then their sum over the devices already.
    Its mean over the devices, which is right everywhere else, would be D times too large.
    """
    if axis_name is not None and axis_name in varying_axes(jax.lax.axis_index(axis_name)):
        raise ArgumentError(
            "a batch that jax.shard_map shares requires check_vma=False; with it on, JAX sums the"
            " gradients of shared parameters over the devices, where their mean is needed"
        )
