"""Images as they were prepared, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sfvae_jax.paths import not_regular
from sfvae_jax.runtime.user_cache import user_cache_folder, write_whole

MOST_BYTES = 512 * 2**20  # larger sets are prepared each time
SUFFIX = ".npy"
_SEAL = 32  # the bytes before the images: a digest
_LOOKED_AT = 16  # images of a cache file that are compared with prepared ones

log = logging.getLogger("sfvae_jax")

Prepare = Callable[[np.ndarray], np.ndarray]


def kept_images(
    key: bytes, shape: tuple[int, ...], dtype: np.dtype, prepare: Prepare
) -> np.ndarray | None:
    """Returns all images of a split; the first call prepares them, others find what it kept.

    The cache is the folder `sfvae_jax/images` of the user's cache folder, with one file for each
    key. It may be deleted at any time. A file is used only if it is whole and some of its images
    equal those that are prepared again; otherwise it is written anew. If several processes write
    the same file, the last one stays.

    Args:
        key: the bytes of what the images are and how they are prepared.
        shape: [N, ...], of all images.
        dtype: that of a pixel.
        prepare: prepares the images at some indices.

    Returns:
        The images, mapped from the file; None if they are too large to be kept or the folder cannot
        be written to.
    """
    if math.prod(shape) * dtype.itemsize > MOST_BYTES:
        return None
    folder, writable = user_cache_folder("images")
    if not writable:
        log.info("prepared images are not kept: cannot write to %s", folder)
        return None
    key = b"%s %s %s" % (key, str(shape).encode(), dtype.str.encode())
    file = folder / f"{hashlib.sha256(key).hexdigest()[:32]}{SUFFIX}"
    kept = _load(file, key, shape, dtype)
    if kept is not None and _matches(kept, prepare):
        return kept
    images = prepare(np.arange(shape[0]))
    sealed = np.concatenate([_seal(key, images), _as_bytes(images)])
    failed = write_whole(file, lambda stream: np.save(stream, sealed))
    if failed:
        log.info("prepared images are not kept: %s", failed)
    return images


def _as_bytes(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images).reshape(-1).view(np.uint8)


def _seal(key: bytes, images: np.ndarray) -> np.ndarray:
    """Returns a digest of images and of the key under which they are kept, uint8 [32]."""
    digest = hashlib.sha256(key)
    digest.update(_as_bytes(images).data)
    return np.frombuffer(digest.digest(), np.uint8)


def _load(file: Path, key: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """Maps a cache file; None if it is missing, damaged, or kept under another key."""
    try:
        if not_regular(file):
            return None
        sealed = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError):  # ValueError: not an array, or one of objects
        return None
    size = math.prod(shape) * dtype.itemsize
    if sealed.dtype != np.uint8 or sealed.shape != (_SEAL + size,):
        return None
    images = np.asarray(sealed[_SEAL:]).view(dtype).reshape(shape)
    return images if np.array_equal(sealed[:_SEAL], _seal(key, images)) else None


def _matches(kept: np.ndarray, prepare: Prepare) -> bool:
    """Returns whether some of the images are those that are prepared again.

    The seal only shows damage: another version of a decoder may give other pixels.
    """
    looked_at = np.unique(np.linspace(0, len(kept) - 1, _LOOKED_AT).astype(int))
    return np.array_equal(kept[looked_at], prepare(looked_at))
