"""From raw arrays to pixels in [0, 1]."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.errors import UsageError


def as_stored(images: np.ndarray, origin: str) -> np.ndarray:
    """Images as they are kept: uint8 in 0..255, or float32 in [0, 1].

    Args:
        images: [N, ...] of booleans or whole numbers in {0, 1} (one bit a pixel), whole numbers in
            0..255, or floats in [0, 1]; not empty.
        origin: where they come from, for the message.

    Returns:
        The same shape; uint8 or float32.

    Raises:
        UsageError: if the values are not finite, or in neither range.
    """
    if images.dtype == bool:
        return images.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(images.dtype, np.number) or np.iscomplexobj(images):
        raise UsageError(f"{origin} holds {images.dtype}; expected numbers")
    if not np.all(np.isfinite(images)):
        raise UsageError(f"{origin} holds values that are not finite; remove or replace them")
    whole = np.issubdtype(images.dtype, np.integer)
    low, high = images.min(), images.max()
    if low < 0 or high > (255 if whole else 1):
        expected = "whole numbers in 0..255" if whole else "floats in [0, 1]"
        raise UsageError(f"{origin} has values from {low:g} to {high:g}; expected {expected}")
    if whole and high <= 1:  # one bit a pixel
        return images.astype(np.uint8) * np.uint8(255)
    return images.astype(np.uint8 if whole else np.float32, copy=False)


def to_unit_interval(images: Array) -> Array:
    """Stored images as float32 in [0, 1]; runs on the device."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255.0
    return images
