"""A folder of images, such as 3D Chairs or CelebA as their authors publish them."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sfvae_jax.data.geometry import Shape
from sfvae_jax.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")
_NAMED_AT_MOST = 10
_GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")

# Files of these formats end so, unless they are cut short (or have something behind them).
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_END_BYTES = 64

log = logging.getLogger("sfvae_jax")


class FolderPart:
    """Images of files, decoded when they are asked for; anything transparent lies on white."""

    def __init__(self, folder: Path, files: Sequence[str], shapes: frozenset[Shape]) -> None:
        self._folder, self._files = folder, tuple(files)
        self.image_shapes = shapes
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(self._folder / self._files[index]) as image:
                return _decode(image)
        except Exception as error:
            # Found only on decoding: look for all others of its kind, to name them at once.
            damaged = _inspect(self._folder, self._files, True).damaged
            damaged = damaged or {self._files[index]: _reason(error)}
            raise _damaged(self._folder, damaged, len(self._files)) from error


def open_folder(path: str, *, skip_corrupt: bool = False) -> Mapping[str, FolderPart]:
    """All images in a folder and the folders in it, in the order of their names.

    Heads and ends of the files are looked at; all are decoded only where damaged ones are to be
    skipped.

    Args:
        path: the folder; files whose names begin with a dot are left out.
        skip_corrupt: whether to leave out images that cannot be decoded.

    Raises:
        UsageError: if there is no such folder, no image in it, or (all of them in one message)
            some cannot be read.
    """
    if not path:
        raise UsageError("give folder:PATH of a folder of images")
    folder = Path(path).expanduser()
    files = _list_files(folder)
    found = _inspect(folder, files, skip_corrupt)
    if found.damaged and not skip_corrupt:
        raise _damaged(folder, found.damaged, len(files))
    if not found.shapes:
        raise UsageError(f"none of the {len(files)} images in {folder} can be read")
    if found.damaged:
        log.warning("skipping %s", _named(found.damaged, len(files), folder))
    return {"train": FolderPart(folder, [*found.shapes], frozenset(found.shapes.values()))}


def _list_files(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}; give folder:PATH of a folder of images")

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    files = [
        (Path(root) / name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    if not files:
        raise UsageError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    return tuple(sorted(files))


@dataclasses.dataclass(frozen=True)
class _Found:
    shapes: dict[str, Shape]  # of the files that can be read
    damaged: dict[str, str]  # the others, and why


def _inspect(folder: Path, files: tuple[str, ...], thorough: bool) -> _Found:
    stats = (os.stat(folder / file) for file in files)
    stamps = tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)
    return _inspect_once(folder, files, stamps, thorough)


@functools.lru_cache(maxsize=4)  # every part of the data set opens the folder again
def _inspect_once(
    folder: Path, files: tuple[str, ...], stamps: tuple[tuple[int, int], ...], thorough: bool
) -> _Found:
    def look(file: str) -> Shape | str:
        return _look(folder / file, thorough)

    with ThreadPoolExecutor() as pool:
        results = dict(zip(files, pool.map(look, files), strict=True))
    damaged = {file: result for file, result in results.items() if isinstance(result, str)}
    return _Found({file: results[file] for file in files if file not in damaged}, damaged)


def _look(path: Path, thorough: bool) -> Shape | str:
    """The shape of a file's image, or why it has none."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if thorough or not _is_whole(path, image.format):
                image.load()
            return (image.height, image.width, 1 if image.mode in _GRAY_MODES else 3)
    except Exception as error:  # whatever the decoders of damaged files raise
        return _reason(error)


def _is_whole(path: Path, kind: str | None) -> bool:
    """Whether a file certainly ends where its format says."""
    if kind not in _ENDS:
        return False
    with path.open("rb") as file:
        file.seek(-min(_END_BYTES, path.stat().st_size), os.SEEK_END)
        return _ENDS[kind] in file.read()


def _decode(image: Any) -> np.ndarray:
    """An opened image as uint8 [H, W, 1 or 3]."""
    from PIL import Image

    gray = image.mode in _GRAY_MODES
    if image.mode.startswith("I"):  # 16 bits a pixel
        return (np.asarray(image).astype(np.int32)[..., None] >> 8).astype(np.uint8)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    return pixels[..., None] if gray else pixels


def _damaged(folder: Path, damaged: Mapping[str, str], total: int) -> UsageError:
    return UsageError(
        f"cannot read {_named(damaged, total, folder)}; remove them, or set"
        " --config.data.skip_corrupt=True"
    )


def _named(damaged: Mapping[str, str], total: int, folder: Path) -> str:
    names = [f"{file} ({reason})" for file, reason in damaged.items()]
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    shown = ", ".join(names[:_NAMED_AT_MOST])
    return f"{len(names)} of the {total} images in {folder}: {shown}{more}"


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image"
    return " ".join(str(error).split())[:80] or type(error).__name__
