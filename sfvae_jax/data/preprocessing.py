"""From raw arrays to pixels in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import jax
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


def resize(images: np.ndarray, side: int) -> np.ndarray:
    """Stored images [N, H, W, C] at [N, side, side, C], every new pixel the mean of its area.

    Raises:
        UsageError: if they are no square images.
    """
    if images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise UsageError(
            f"data.image_size needs square images [N, H, H, C], got shape {images.shape}"
        )
    if images.shape[1] == side:
        return images
    return np.stack([_resize_one(image, side) for image in images])


def _resize_one(image: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    def channel(plane: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BOX))

    return np.stack([channel(image[..., c]) for c in range(image.shape[-1])], axis=-1)


BINARIZATIONS = ("none", "static", "dynamic")


def binarize_once(images: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Stored images with every pixel 0 or 255, drawn once with its grey level as probability.

    Static binarisation (Larochelle and Murray, 2011; GAPS 6.1.2): the same draw for the same seed.
    """
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    rng = np.random.default_rng(seed)
    drawn = np.empty(images.shape, np.uint8)
    for i, image in enumerate(images):  # one at a time: the noise takes eight bytes a pixel
        drawn[i] = rng.random(image.shape) * scale < image
    return drawn * np.uint8(255)


def binarize_now(rng: Array, x: Array) -> Array:
    """One example in [0, 1] with every pixel 0 or 1, drawn with its grey level as probability."""
    return jax.random.bernoulli(rng, x).astype(x.dtype)
