"""Reads image files: first what their heads and ends tell, later their pixels."""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sfvae_jax.data.geometry import Shape
from sfvae_jax.paths import not_regular

# The decoders of Pillow that are used, whatever the name of a file; others may start programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)

# How many bits may be used by the pixels of images that are stored with 16 bits.
DEPTHS = (1, 8, 10, 12, 14, 16)

_GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

# The end of a whole file in these formats, behind which a few files have something else.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_END_BYTES = 64
_READ_AT_ONCE = 2**20  # bytes

_ORIENTATION = 0x0112  # the EXIF tag
# How stored pixels [H, W, C] are turned upright, by the value of that tag; 1 is upright.
_UPRIGHT = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
_LYING = (5, 6, 7, 8)  # the values of the tag for which height and width are exchanged


@dataclasses.dataclass(frozen=True)
class Head:
    """What is known of an image before its pixels are used.

    Attributes:
        shape: the shape of the pixels that `decode` returns.
        checksum: a checksum of the file. For a whole PNG or JPEG it covers only the last bytes,
            which in a PNG hold the checksum of its pixels, and in a JPEG change with most of what
            comes before them.
        largest: an upper bound of its values, if it has 16 bits a channel and does not say how
            many of these it uses; None for other images.
        halved: whether only the upper 8 of these 16 bits can be read.
    """

    shape: Shape
    checksum: int
    largest: int | None = None
    halved: bool = False


def look(path: Path, *, thorough: bool) -> Head:
    """Reads the head of an image file; decodes the file if its end is missing.

    Args:
        path: the file.
        thorough: whether to decode it anyway: only this shows damage in the middle.

    Raises:
        ValueError: if it is not a regular file, or holds something other than one image with 8 or
            16 bits a channel.
        Exception: if it is damaged; decoders raise errors of many kinds.
    """
    with _opened(path) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # MPO: a photograph with previews
            raise ValueError(f"it has {frames} frames; expected one")
        is_deep = _is_deep(image)
        if not (is_deep or image.mode in (*_GRAY_MODES, *_COLOUR_MODES)) or _is_32_bit(image):
            raise ValueError(f"its pixels have mode {image.mode}; expected 8 or 16 bits a channel")
        orientation = _orientation(image)
        end = _end(path)
        is_whole = _is_whole(end, image.format)
        if thorough or is_deep or not is_whole:
            image.load()
        checksum = zlib.crc32(end) if is_whole else _checksum(path)
        sides = (image.height, image.width)
        height, width = sides[::-1] if orientation in _LYING else sides
        shape = (height, width, 1 if image.mode in _GRAY_MODES else 3)
        if not is_deep:
            return Head(shape, checksum)
        largest = int(np.asarray(image).max())
        halved = image.mode not in _GRAY_MODES or image.mode == "LA"
        largest = largest << 8 | 255 if halved else largest
        return Head(shape, checksum, largest, halved)


def decode(path: Path, depth: int) -> np.ndarray:
    """Decodes an image to upright pixels, uint8 [H, W, 1 or 3]; transparent ones on white.

    Args:
        path: the file.
        depth: how many bits are used in an image with 16 bits that does not say so.
    """
    with _opened(path) as image:
        is_deep, orientation = _is_deep(image), _orientation(image)
        if image.mode.startswith("I"):
            pixels = _as_8_bits(np.asarray(image), depth if is_deep else 16)
        else:
            pixels = _flat(image)
    upright = _UPRIGHT.get(orientation, lambda pixels: pixels)
    return np.ascontiguousarray(upright(pixels))


def depth_of(heads: Iterable[Head]) -> int | None:
    """Returns how many bits the images with 16 bits a channel use; None if there are none.

    It is the smallest of DEPTHS that holds all their values: cameras with 12 bits write 16.
    """
    largest = max((head.largest for head in heads if head.largest is not None), default=None)
    if largest is None:
        return None
    return next(depth for depth in DEPTHS if largest < 2**depth)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from PIL import Image

    problem = not_regular(path)
    if problem:  # opening a named pipe may wait for ever
        raise ValueError(f"it is {problem}")
    with Image.open(path, formats=FORMATS) as image:
        yield image


def _is_deep(image: Any) -> bool:
    """Returns whether it has 16 bits a channel, of which the file does not say how many it uses."""
    if image.format == "PPM":  # such a file states its largest value, by which Pillow scales
        return False
    stored_as = (str(tile[3]) for tile in image.tile)
    return image.mode.startswith("I;16") or any(";16" in args for args in stored_as)


def _is_32_bit(image: Any) -> bool:
    return image.mode == "I" and image.format not in ("PNG", "PPM")


def _orientation(image: Any) -> int:
    """Returns the orientation in the EXIF or XMP of an image that was just opened; 1: upright."""
    from PIL import Image

    if image.format == "TIFF":
        image.load()  # newer versions of Pillow turn it upright when it is loaded
    try:
        # The method of PNG images would decode all of the image to find metadata behind it.
        return Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # the metadata are damaged, but the image can be read
        return 1


def _end(path: Path) -> bytes:
    """Returns the last bytes of a file."""
    with path.open("rb") as file:
        file.seek(-min(_END_BYTES, path.stat().st_size), os.SEEK_END)
        return file.read()


def _checksum(path: Path) -> int:
    """Returns a checksum of all bytes of a file."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(_READ_AT_ONCE):
            found = zlib.crc32(block, found)
    return found


def _is_whole(end: bytes, kind: str | None) -> bool:
    """Returns whether the last bytes hold the end of the format, so that nothing is cut off."""
    return kind in _ENDS and _ENDS[kind] in end


def _as_8_bits(values: np.ndarray, depth: int) -> np.ndarray:
    if depth == 1:
        return (values[..., None] * 255).astype(np.uint8)
    return (values.astype(np.int32)[..., None] >> (depth - 8)).astype(np.uint8)


def _flat(image: Any) -> np.ndarray:
    """Returns an image with 8 bits a channel on white, uint8 [H, W, 1 or 3]."""
    from PIL import Image

    gray = image.mode in _GRAY_MODES
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    return pixels[..., None] if gray else pixels
