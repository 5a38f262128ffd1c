"""What path derivatives of a density take: a way back from z that rounding does not spoil."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array


def zero_with_gradient(value: Array) -> Array:
    """Zero, with the value's gradient: a change that has not happened."""
    return value - jax.lax.stop_gradient(value)


def with_gradient_of(value: Array, known: Array) -> Array:
    """The known value with the gradient of one that rounding may have moved.

    Where rounding has broken it, not finite, there is no gradient.
    """
    change = zero_with_gradient(value)
    return jax.lax.stop_gradient(known) + jnp.where(jnp.isfinite(value), change, 0.0)


def invertible_log_scale(log_scale: Array) -> Array:
    """A log scale as an inverse can undo it.

    Below it the scaled number has too few digits left to be scaled back, and a derivative through
    several such steps would leave the range of floats.
    """
    return jnp.maximum(log_scale, 0.75 * math.log(jnp.finfo(log_scale.dtype).eps))
