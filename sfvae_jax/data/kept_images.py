"""Images as they were prepared, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from sfvae_jax.paths import not_regular
from sfvae_jax.runtime.user_cache import user_cache_folder, write_whole

MOST_BYTES = 512 * 2**20  # of a set; larger ones are prepared each time
SUFFIX = ".images"
_FORMAT = b"1"  # raised once images are prepared in another way
_SEAL_BYTES = 32  # a file begins with a digest
_LOOKED_AT = 16  # images of a file that are compared with prepared ones

log = logging.getLogger("sfvae_jax")

Prepare = Callable[[np.ndarray], np.ndarray]


class Origin(NamedTuple):
    """Where images come from.

    Attributes:
        place: what tells them from other images; each has one cache file.
        state: what differs once these images have changed.
    """

    place: str
    state: str


def kept_images(
    origin: Origin, shape: tuple[int, ...], dtype: np.dtype, prepare: Prepare
) -> np.ndarray | None:
    """Returns all images of a split: those that an earlier call kept, or else prepares and keeps.

    They are kept in the folder `sfvae_jax/images` of the user's cache folder, which may be deleted
    at any time. A file is used only if it is whole, its state is the present one, and some of its
    images equal those that are prepared again; otherwise it is replaced. If several processes
    write the same file, the last one stays.

    Args:
        origin: where the images come from, and how they are prepared.
        shape: [N, ...], of all images.
        dtype: that of a pixel.
        prepare: prepares the images at some indices.

    Returns:
        The images, in memory; None if there are none, they are too large to be kept, or the folder
        cannot be written to.
    """
    if not 0 < math.prod(shape) * dtype.itemsize <= MOST_BYTES:
        return None
    folder, writable = user_cache_folder("images")
    if not writable:
        log.info("prepared images are not kept: cannot write to %s", folder)
        return None
    name = hashlib.sha256(_as_bytes(origin.place)).hexdigest()[:32]
    file = folder / f"{name}{SUFFIX}"
    state = b"%s\n%s\n%s" % (_FORMAT, _as_bytes(origin.state), f"{shape} {dtype.str}".encode())
    kept = _load(file, state, shape, dtype)
    if kept is not None and _matches(kept, prepare):
        return kept
    images = prepare(np.arange(shape[0]))

    def write(stream: BinaryIO) -> None:
        stream.write(_seal(state, images))
        stream.write(_pixels(images))

    failed = write_whole(file, write)
    if failed:
        log.info("prepared images are not kept: %s", failed)
    return images


def _as_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # as in names of files


def _pixels(images: np.ndarray) -> memoryview:
    return np.ascontiguousarray(images).reshape(-1).view(np.uint8).data


def _seal(state: bytes, images: np.ndarray) -> bytes:
    """Returns a digest of images and of the state in which they are kept."""
    digest = hashlib.sha256(state)
    digest.update(_pixels(images))
    return digest.digest()


def _load(file: Path, state: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """Reads a cache file; None if it is missing, damaged, or of another state."""
    size = math.prod(shape) * dtype.itemsize
    try:
        if not_regular(file) or file.stat().st_size != _SEAL_BYTES + size:
            return None
        content = np.fromfile(file, np.uint8)
    except OSError:
        return None
    if len(content) != _SEAL_BYTES + size:
        return None
    images = content[_SEAL_BYTES:].view(dtype).reshape(shape)
    return images if content[:_SEAL_BYTES].tobytes() == _seal(state, images) else None


def _matches(kept: np.ndarray, prepare: Prepare) -> bool:
    """Returns whether some of the images are those that are prepared again.

    The seal only shows damage: another program could seal a file of its own.
    """
    looked_at = np.unique(np.linspace(0, len(kept) - 1, _LOOKED_AT).astype(int))
    return np.array_equal(kept[looked_at], prepare(looked_at))
