"""A folder of images, such as 3D Chairs or CelebA as their authors publish them."""

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
from sfvae_jax.data.source import DataSource
from sfvae_jax.errors import UsageError, in_one_line, listed
from sfvae_jax.paths import local_path

_NAMED_AT_MOST = 10
_PROBED = 16  # images that show whether a folder holds nothing but black
_DARK = 15  # of 255: values up to this one are nearly black

log = logging.getLogger("sfvae_jax")

_Stamp = tuple[int, int]  # a file's size and time of change, zeros where there is none


class FolderSplit:
    """Images of files, decoded when they are asked for; anything transparent lies on white."""

    def __init__(
        self,
        folder: Path,
        files: Sequence[str],
        marks: Sequence[tuple[int, int]],
        shapes: frozenset[Shape],
        depth: int,
    ) -> None:
        """Images of these files, relative to a folder.

        Args:
            folder: in which they lie.
            files: their names, with "/".
            marks: the size of each file in bytes, and a checksum.
            shapes: that images of any split of the data set have.
            depth: how many bits there are in images of 16 bits a channel.
        """
        self._folder, self._files, self._depth = folder, tuple(files), depth
        self._marks = tuple(marks)
        self.example_shapes = shapes
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def identities(self) -> np.ndarray:
        """Hashes of the files' names, uint64 [N]."""
        return _identities(self._files)

    def digest(self) -> bytes:
        """A digest of the files' names, sizes and checksums; a copy of the folder has the same."""
        pairs = zip(map(_as_bytes, self._files), self._marks, strict=True)
        lines = sorted(b"%s %d %d\n" % (name, *mark) for name, mark in pairs)
        return hashlib.sha256(b"".join(lines)).digest()

    def __getitem__(self, index: int) -> np.ndarray:
        try:
            return decode(self._folder / self._files[index], self._depth)
        except Exception as error:
            # Only decoding shows such damage: find all such files, to name them at once.
            damaged = _inspect(self._folder, self._files, True).damaged
            damaged = damaged or {self._files[index]: _reason(error)}
            raise _damaged(self._folder, damaged, len(self._files)) from error


def open_folder(path: str, *, skip_corrupt: bool = False) -> Mapping[str, FolderSplit]:
    """The images in a folder and the folders in it, by split, in the order of their names.

    Folders named train, valid (or val) and test are the splits (`list_images`). Heads and ends of
    the files are read. A file is decoded only where damaged ones are to be skipped, where its
    format has no end to be recognised by, and where it has 16 bits a channel: the values of all
    such files decide together how many of these bits are used.

    Args:
        path: the folder.
        skip_corrupt: whether to leave out images that cannot be decoded.

    Returns:
        The splits by name; "train" is always there.

    Raises:
        UsageError: if there is no such folder, no image in a split of it, or (all of them in one
            message) some cannot be read.
    """
    if not path:
        raise UsageError("give folder:PATH of a folder of images")
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
                f"none of the {len(splits[split])} images{of_split} in {folder} can be read"
            )
    shapes = frozenset(head.shape for head in found.heads.values())
    depth = _depth(folder, found.heads)
    _tell(folder, tuple((split, len(names)) for split, names in kept.items()), found, depth)
    return {
        split: FolderSplit(folder, names, [found.mark(name) for name in names], shapes, depth or 16)
        for split, names in kept.items()
    }


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
    heads: dict[str, Head]  # of the files that can be read
    sizes: dict[str, int]  # of all files, in bytes
    damaged: dict[str, str]  # those that cannot be read, and why

    def mark(self, name: str) -> tuple[int, int]:
        """Size and checksum of a file that can be read; those of a replaced file differ."""
        return (self.sizes[name], self.heads[name].checksum)


def _inspect(folder: Path, files: tuple[str, ...], thorough: bool) -> _Found:
    stamps = tuple(_stamp(os.path.join(folder, file)) for file in files)
    return _inspect_once(folder, files, stamps, thorough)


def _stamp(path: str) -> _Stamp:
    try:
        stat = os.stat(path)
    except OSError:  # a dangling link, say; to look at it says what is wrong
        return (0, 0)
    return (stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4)  # every split of the data set opens the folder again
def _inspect_once(
    folder: Path, files: tuple[str, ...], stamps: tuple[_Stamp, ...], thorough: bool
) -> _Found:
    from PIL import Image

    def look_at(file: str) -> Head | str:
        try:
            return look(folder / file, thorough=thorough)
        except Exception as error:  # whatever the decoders of damaged files raise
            return _reason(error)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module="PIL")  # of damage beside the image
        # A small file of billions of pixels would fill the memory.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        results = dict(zip(files, pool.map(look_at, files), strict=True))
    damaged = {file: result for file, result in results.items() if isinstance(result, str)}
    heads = {file: results[file] for file in files if file not in damaged}
    sizes = {file: size for file, (size, _) in zip(files, stamps, strict=True)}
    return _Found(heads, sizes, damaged)


def _depth(folder: Path, heads: Mapping[str, Head]) -> int | None:
    """How many bits images of 16 bits a channel have, one number for the whole data set."""
    depth = depth_of(heads.values())
    halved = [name for name, head in heads.items() if head.halved]
    if depth not in (None, 16) and halved:
        raise UsageError(
            f"{len(halved)} images in {folder}, such as {printable(halved[0])}, have colours or"
            f" transparency of 16 bits a channel whose values need {depth} of these: they would"
            " come out nearly black. Convert them to 8 bits a channel"
        )
    return depth


@functools.lru_cache(maxsize=4)  # once for what was found, not once for each split
def _tell(
    folder: Path, numbers: tuple[tuple[str, int], ...], found: _Found, depth: int | None
) -> None:
    """Logs what was decided about the folder."""
    if found.damaged:
        total = len(found.damaged) + len(found.heads)
        log.warning("skipping %s", _named(found.damaged, total, folder))
    if depth is not None:
        log.info("images of 16 bits a channel in %s: read as values of %d bits", folder, depth)
    _tell_dark(folder, found, depth or 16)
    named = split_folders(found.heads)
    if named:
        counts = ", ".join(f"{number} {split}" for split, number in numbers)
        log.info(
            "the folders %s of %s are its splits: %s",
            ", ".join(map(printable, named[:9])),
            folder,
            counts,
        )


def _tell_dark(folder: Path, found: _Found, depth: int) -> None:
    """Warns of masks and the like, whose files have 0 and 1 in place of 0 and 255."""
    names = [*found.heads]
    try:
        probed = [decode(folder / name, depth) for name in names[:: max(len(names) // _PROBED, 1)]]
    except Exception:  # whatever the decoders of damaged files raise: told when it is asked for
        return
    greatest = max(int(pixels.max()) for pixels in probed)
    if greatest <= _DARK:
        log.warning(
            "the images of %s are nearly black: the values of the %d that were looked at (of %d)"
            " reach %d of 255. If that value means white, scale the images up to 255",
            *(folder, len(probed), len(names), greatest),
        )


def _damaged(folder: Path, damaged: Mapping[str, str], total: int) -> UsageError:
    return UsageError(
        f"cannot read {_named(damaged, total, folder)}; remove them, or set"
        " --config.data.skip_corrupt=True"
    )


def _named(damaged: Mapping[str, str], total: int, folder: Path) -> str:
    names = [f"{printable(file)} ({reason})" for file, reason in damaged.items()]
    return f"{len(names)} of the {total} images in {folder}: {listed(names, _NAMED_AT_MOST)}"


@functools.lru_cache(maxsize=8)  # every split of the data set asks for them again
def _identities(files: tuple[str, ...]) -> np.ndarray:
    return identities(map(_as_bytes, files))


def _as_bytes(name: str) -> bytes:
    """A name in composed Unicode; some file systems store accents apart from their letters."""
    return unicodedata.normalize("NFC", name).encode(errors="surrogateescape")


def _reason(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image"
    if isinstance(error, FileNotFoundError):
        return "a link to nothing"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS} pixels"
    return in_one_line(error)[:80]


FOLDER = DataSource(
    "folder:",
    "the image files in a folder",
    lambda group, path: open_folder(path, skip_corrupt=group.skip_corrupt),
    held_out_by="the file's name, relative to PATH, as in `cats/1.png`; links do not change it",
)
