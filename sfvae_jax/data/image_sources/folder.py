"""A folder of image files, such as 3D Chairs or CelebA as their authors publish them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sfvae_jax.data.geometry import Shape
from sfvae_jax.data.held_out import identities
from sfvae_jax.data.image_sources.folder_tree import list_images, printable, split_folders
from sfvae_jax.data.image_sources.image_files import Head, decode, depth_of, look
from sfvae_jax.data.source import DataSource, SourceSplit
from sfvae_jax.errors import UsageError, in_one_line, listed
from sfvae_jax.paths import file_stamp, local_path

_NAMED_AT_MOST = 10
_PROBED = 16  # images that are looked at to see whether all are nearly black
_DARK = 15  # of 255: values up to this one are nearly black

log = logging.getLogger("sfvae_jax")

_Stamp = tuple[int, int]  # a file's `file_stamp`; zeros if there is no file


class FolderSplit(SourceSplit):
    """Image files, decoded when they are asked for; transparent pixels are laid on white."""

    def __init__(
        self,
        folder: Path,
        files: Sequence[str],
        marks: Sequence[tuple[int, int]],
        shapes: frozenset[Shape],
        depth: int,
    ) -> None:
        """Takes the files of a split.

        Args:
            folder: the folder in which they are.
            files: their names relative to the folder, with "/".
            marks: the size in bytes and a checksum of each file.
            shapes: the shapes of the images of all splits.
            depth: how many bits are used in images with 16 bits a channel.
        """
        self._folder, self._files, self._depth = folder, tuple(files), depth
        self._marks = tuple(marks)
        self.example_shapes = shapes
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def identities(self) -> np.ndarray:
        """The hashes of the files' names, uint64 [N]."""
        return _identities(self._files)

    def digest(self) -> bytes:
        """Returns a digest of names, sizes and checksums; a copy of the folder has the same."""
        pairs = zip(map(_as_bytes, self._files), self._marks, strict=True)
        lines = sorted(b"%s %d %d\n" % (name, *mark) for name, mark in pairs)
        return hashlib.sha256(b"".join(lines)).digest()

    def __getitem__(self, index: int) -> np.ndarray:
        try:
            return decode(self._folder / self._files[index], self._depth)
        except Exception as error:
            # Only decoding shows such damage: find all such files, to name them in one message.
            damaged = _inspect(self._folder, self._files, True).damaged
            damaged = damaged or {self._files[index]: _reason(error)}
            raise _damaged(self._folder, damaged, len(self._files)) from error


def open_folder(path: str, *, skip_corrupt: bool = False) -> Mapping[str, FolderSplit]:
    """Opens the images in a folder and the folders below it, in the order of their names.

    Folders named train, valid (or val) and test are the splits (`list_images`). Only the heads and
    ends of the files are read; a file is decoded if damaged images are to be skipped, if its format
    does not mark its end, or if it has 16 bits a channel, because the values of all such files
    together decide how many of these bits are used.

    Args:
        path: the folder.
        skip_corrupt: whether to leave out images that cannot be decoded.

    Returns:
        The splits by name; "train" is always among them.

    Raises:
        UsageError: if there is no such folder, a split has no images, or images cannot be read,
            all of which are named in one message.
    """
    if not path:
        raise UsageError("data.name=folder:PATH requires the PATH of a folder of images")
    folder = local_path(path, "data.name=folder:")
    splits = list_images(folder)
    files = tuple(file for names in splits.values() for file in names)
    found = _inspect(folder, files, skip_corrupt)
    if found.damaged and not skip_corrupt:
        raise _damaged(folder, found.damaged, len(files))
    kept = {
        split: [name for name in names if name in found.heads] for split, names in splits.items()
    }
    for split, names in kept.items():
        if not names:
            of_split = f" of the {split} split" if len(splits) > 1 else ""
            raise UsageError(
                f"none of the {len(splits[split])} images{of_split} in {folder} can be read;"
                " replace the damaged files"
            )
    shapes = frozenset(head.shape for head in found.heads.values())
    depth = _depth(folder, found.heads)
    _log_found(folder, tuple((split, len(names)) for split, names in kept.items()), found, depth)
    return {
        split: FolderSplit(folder, names, [found.mark(name) for name in names], shapes, depth or 16)
        for split, names in kept.items()
    }


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
    """What looking at the files of a folder has shown, by file name."""

    heads: dict[str, Head]  # of the files that can be read
    sizes: dict[str, int]  # of all files, in bytes
    damaged: dict[str, str]  # why each of the other files cannot be read

    def mark(self, name: str) -> tuple[int, int]:
        """Returns the size and checksum of a file that can be read; a replaced file has others."""
        return (self.sizes[name], self.heads[name].checksum)


def _inspect(folder: Path, files: tuple[str, ...], thorough: bool) -> _Found:
    stamps = tuple(_stamp(os.path.join(folder, file)) for file in files)
    return _inspect_once(folder, files, stamps, thorough)


def _stamp(path: str) -> _Stamp:
    try:
        return file_stamp(path)
    except OSError:  # such as a dangling link; looking at the file will tell what is wrong
        return (0, 0)


@functools.lru_cache(maxsize=4)  # training and evaluation open the same folder
def _inspect_once(
    folder: Path, files: tuple[str, ...], stamps: tuple[_Stamp, ...], thorough: bool
) -> _Found:
    from PIL import Image

    def look_at(file: str) -> Head | str:
        try:
            return look(folder / file, thorough=thorough)
        except Exception as error:  # decoders raise anything on damaged files
            return _reason(error)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module="PIL")  # about damage outside of the image
        # A small file with billions of pixels would fill the memory.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        results = dict(zip(files, pool.map(look_at, files), strict=True))
    damaged = {file: result for file, result in results.items() if isinstance(result, str)}
    heads = {file: result for file, result in results.items() if isinstance(result, Head)}
    sizes = {file: size for file, (size, _) in zip(files, stamps, strict=True)}
    return _Found(heads, sizes, damaged)


def _depth(folder: Path, heads: Mapping[str, Head]) -> int | None:
    """Returns how many bits are used in images with 16 bits a channel, for the whole data set."""
    depth = depth_of(heads.values())
    halved = [name for name, head in heads.items() if head.halved]
    if depth not in (None, 16) and halved:
        raise UsageError(
            f"{len(halved)} images in {folder}, such as {printable(halved[0])}, have colours or"
            f" transparency with 16 bits a channel, but values of only {depth} bits: they would"
            " come out nearly black. Convert them to 8 bits a channel"
        )
    return depth


@functools.lru_cache(maxsize=4)  # once for what was found, however often the folder is opened
def _log_found(
    folder: Path, numbers: tuple[tuple[str, int], ...], found: _Found, depth: int | None
) -> None:
    """Logs what was found in the folder and how it is read."""
    if found.damaged:
        total = len(found.damaged) + len(found.heads)
        log.warning("skipping %s", _named(found.damaged, total, folder))
    if depth is not None:
        log.info("images with 16 bits a channel in %s: read as %d-bit values", folder, depth)
    _warn_if_dark(folder, found, depth or 16)
    named = split_folders(found.heads)
    if named:
        counts = ", ".join(f"{number} {split}" for split, number in numbers)
        log.info(
            "the folders %s of %s are its splits: %s",
            ", ".join(map(printable, named[:9])),
            folder,
            counts,
        )


def _warn_if_dark(folder: Path, found: _Found, depth: int) -> None:
    """Warns of images such as masks, whose files may hold 0 and 1 instead of 0 and 255."""
    names = [*found.heads]
    try:
        probed = [decode(folder / name, depth) for name in names[:: max(len(names) // _PROBED, 1)]]
    except Exception:  # damage is reported when the image is asked for
        return
    largest = max(int(pixels.max()) for pixels in probed)
    if largest <= _DARK:
        log.warning(
            "the images in %s are nearly black: the largest value in %d of its %d images is %d"
            " of 255. If that value means white, scale the images up to 255",
            *(folder, len(probed), len(names), largest),
        )


def _damaged(folder: Path, damaged: Mapping[str, str], total: int) -> UsageError:
    return UsageError(
        f"cannot read {_named(damaged, total, folder)}; remove them, or set"
        " --config.data.skip_corrupt=True"
    )


def _named(damaged: Mapping[str, str], total: int, folder: Path) -> str:
    names = [f"{printable(file)} ({reason})" for file, reason in damaged.items()]
    return f"{len(names)} of the {total} images in {folder}: {listed(names, _NAMED_AT_MOST)}"


@functools.lru_cache(maxsize=8)  # every split asks for them again
def _identities(files: tuple[str, ...]) -> np.ndarray:
    return identities(map(_as_bytes, files))


def _as_bytes(name: str) -> bytes:
    """Encodes a name in composed Unicode; some file systems store accents as own characters."""
    return unicodedata.normalize("NFC", name).encode(errors="surrogateescape")


def _reason(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, FileNotFoundError):
        return "a dangling link"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS} pixels"
    return in_one_line(error)[:80]


FOLDER = DataSource(
    "folder:",
    "the image files in a folder",
    lambda group, path: open_folder(path, skip_corrupt=group.skip_corrupt),
    held_out_by="the file's name, relative to PATH, as in `cats/1.png`; links do not change it",
)
