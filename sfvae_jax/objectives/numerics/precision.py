"""Conversions of dtypes, so that sums over data and latents are taken in at least 32 bits.

A sum of 784 terms in bfloat16, which has 8 bits of precision, is off by whole nats; float16 has no
finite number above 65,504. Arrays of 32 and 64 bits pass through these functions unchanged.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def wide(tree: Any) -> Any:
    """Converts floats of fewer than 32 bits in a pytree to float32; all else stays as it is."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if is_narrow(leaf) else leaf, tree)


def is_narrow(value: Any) -> bool:
    """Whether a value is an array of floats of fewer than 32 bits."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32


def wide_dtype(value: Any) -> jnp.dtype:
    """The dtype in which JAX holds an array, widened to at least 32 bits.

    A NumPy array may be in float64 where JAX has no such dtype.
    """
    return jnp.promote_types(jax.dtypes.canonicalize_dtype(value.dtype), jnp.float32)


def normal_like(rng: Array, value: Array | jax.ShapeDtypeStruct) -> Array:
    """Draws standard normal noise shaped like an array, in at least 32 bits.

    In bfloat16 it would have only 128 different values, none beyond 2.9, and a mean square of 0.99.
    """
    return jax.random.normal(rng, value.shape, wide_dtype(value))


def rounded_like(value: Array, *given: Any) -> Array:
    """Converts a value to the common dtype of the given ones, if that has fewer than 32 bits.

    Thus the samples of a posterior in bfloat16 are passed to the decoder in bfloat16.
    """
    dtype = jnp.result_type(*given)
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return value.astype(dtype) if narrow else value
