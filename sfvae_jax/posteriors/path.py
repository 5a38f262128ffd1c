"""Helpers for path derivatives of a density, where rounding must not spoil the inverse map."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array


def zero_with_gradient(value: Array) -> Array:
    """Returns a zero whose gradient is that of `value`."""
    return value - jax.lax.stop_gradient(value)


def with_gradient_of(value: Array, known: Array) -> Array:
    """Returns `known` with the gradient of `value`; the two differ only by rounding errors.

    Where rounding has made the value infinite or not a number, the gradient of what is returned in
    the value is zero. What the value was computed from may still make it nan there.
    """
    change = zero_with_gradient(value)
    return jax.lax.stop_gradient(known) + jnp.where(jnp.isfinite(value), change, 0.0)


def invertible_log_scale(log_scale: Array) -> Array:
    """Bounds a log scale from below so that an inverse can undo it.

    Below the bound a scaled number keeps too few digits to be scaled back, and a derivative through
    several such steps would leave the range of floats.
    """
    return jnp.maximum(log_scale, 0.75 * math.log(jnp.finfo(log_scale.dtype).eps))
