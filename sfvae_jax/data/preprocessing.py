"""From the values of a source to pixels in [0, 1]: checks, storage, scaling, binarisation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.errors import UsageError

ROUNDING = 1e-5  # how far float32 values may lie beyond [0, 1]; float16: two of its steps


def as_stored(images: np.ndarray, origin: str, *, one_bit: bool | None = None) -> np.ndarray:
    """Returns images as they are stored: uint8 in 0..255 or float32 in [0, 1].

    Args:
        images: [...], not empty: booleans or whole numbers in {0, 1}, of one bit a pixel; whole
            numbers in 0..255; or floats in [0, 1], whose rounding errors are cut off.
        origin: where they come from, for error messages.
        one_bit: whether whole numbers have one bit a pixel; None to decide by their values.

    Returns:
        An array of the same shape.

    Raises:
        UsageError: if values are not finite or lie outside of these ranges.
    """
    if images.dtype == np.uint8 and one_bit is False:
        return images
    if images.dtype == bool:
        return np.where(images, np.uint8(255), np.uint8(0))
    if images.dtype.kind not in "iuf":
        raise UsageError(f"{origin} has the type {images.dtype}; expected numbers")
    if not np.all(np.isfinite(images)):
        raise UsageError(f"{origin} has values that are not finite; replace them")
    whole = images.dtype.kind in "iu"
    low, high = images.min(), images.max()
    limit = 255 if whole and not one_bit else 1
    slack = 0 if whole else max(ROUNDING, 2 * float(np.finfo(images.dtype).eps))
    if low < -slack or high > limit + slack:
        expected = f"whole numbers in 0..{limit}" if whole else "floats in [0, 1]"
        raise UsageError(
            f"{origin} has values from {number_text(low)} to {number_text(high)}; expected"
            f" {expected}"
        )
    if whole and (high <= 1 if one_bit is None else one_bit):
        return images.astype(np.uint8) * np.uint8(255)
    stored = images.astype(np.uint8 if whole else np.float32, copy=False)
    return np.clip(stored, 0, 1) if not whole and (low < 0 or high > 1) else stored


def number_text(value: np.generic) -> str:
    """Returns a number with enough digits to tell it from the next one of its type."""
    return str(value.item()) if value.dtype.kind in "iu" else f"{float(value):.9g}"


def to_unit_interval(images: Array) -> Array:
    """Returns stored images as float32 in [0, 1]; runs on the device."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255.0
    return images


def as_seen(stored: Array, scale: float = 1.0) -> Array:
    """Returns stored examples as a model sees them; runs on the device.

    Pixels are scaled to [0, scale]; the rules of sequences stay whole numbers.
    """
    if jnp.issubdtype(stored.dtype, jnp.integer) and stored.dtype != jnp.uint8:
        return stored.astype(jnp.int32)
    return scale * to_unit_interval(stored)


BINARIZATIONS = ("none", "static", "dynamic")


def binarize_once(
    images: np.ndarray, seed: int | Sequence[int], positions: Iterable[int] | None = None
) -> np.ndarray:
    """Draws every pixel of stored images as 0 or 255, once, with its gray level as probability.

    This is static binarisation (Larochelle and Murray, 2011; GAPS 6.1.2). What is drawn for an
    image depends only on the seed and its position, not on the images that are given with it.

    Args:
        images: [n, ...], uint8 in 0..255 or floats in [0, 1].
        seed: the seed of the noise.
        positions: the positions [n] of the images in the whole set; None for the first n.
    """
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    bits = np.random.PCG64(seed)
    rng, reached = np.random.Generator(bits), 0
    size = math.prod(images.shape[1:])
    drawn = np.empty(images.shape, np.uint8)
    places = range(len(images)) if positions is None else positions
    for i, position in enumerate(places):  # one at a time, as the noise takes eight bytes a pixel
        bits.advance((int(position) - reached) * size)  # a pixel takes one word
        drawn[i] = rng.random(images.shape[1:]) * scale < images[i]
        reached = int(position) + 1
    return drawn * np.uint8(255)


def binarize_now(rng: Array, x: Array) -> Array:
    """Draws every pixel of an example in [0, 1] as 0 or 1, with its gray level as probability."""
    return jax.random.bernoulli(rng, x).astype(x.dtype)
