"""Sums over data and latents are taken in 32 bits at least, whatever their terms come in.

A sum of 784 terms in bfloat16, which has 8 bits of precision, is off by whole nats; float16 ends at
65,504. Arrays of 32 and 64 bits pass through these functions as they are.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def wide(tree: Any) -> Any:
    """A pytree with its floats of fewer than 32 bits in float32; all else as it is."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if is_narrow(leaf) else leaf, tree)


def is_narrow(value: Any) -> bool:
    """Whether this is an array of floats of fewer than 32 bits."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32


def wide_dtype(value: Any) -> jnp.dtype:
    """The type of an array, as JAX holds it, in 32 bits at least.

    NumPy's arrays may be in float64 where JAX has no such type.
    """
    return jnp.promote_types(jax.dtypes.canonicalize_dtype(value.dtype), jnp.float32)


def normal_like(rng: Array, value: Array | jax.ShapeDtypeStruct) -> Array:
    """Standard normal noise shaped like an array, in 32 bits at least.

    Drawn in bfloat16 it would take 128 values, none beyond 2.9, with a mean square of 0.99.
    """
    return jax.random.normal(rng, value.shape, wide_dtype(value))


def rounded_like(value: Array, *given: Any) -> Array:
    """A value in the type that the given ones have together, if that is one of fewer bits.

    So samples of a posterior in bfloat16 reach a decoder in bfloat16.
    """
    dtype = jnp.result_type(*given)
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return value.astype(dtype) if narrow else value
