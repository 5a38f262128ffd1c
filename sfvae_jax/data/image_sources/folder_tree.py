"""Which image files lie in a folder, and to which split of the data set each belongs."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from sfvae_jax.data.image_sources.image_files import SUFFIXES
from sfvae_jax.errors import UsageError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
"""The split to which the images in a folder of this name belong, in upper or lower case."""

# What archives, file systems and network storage leave behind, besides names that begin with a dot.
_LEFT_BEHIND = (
    *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin"),
    *("system volume information", "lost+found"),
)

log = logging.getLogger("sfvae_jax")


@dataclasses.dataclass(frozen=True)
class _File:
    """An image file as it was found.

    Attributes:
        name: relative to the folder, with "/".
        split: named by the outermost folder that names one; None if no folder does.
        real: where it lies, without links.
        is_link: whether it is a link itself.
    """

    name: str
    split: str | None
    real: str
    is_link: bool


def list_images(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Names of the image files below a folder, relative to it and sorted, by split.

    Where folders are named as SPLIT_NAMES has it, at any depth, they are the splits, and images
    outside of them are left out; else all images belong to the split "train". Links are followed;
    a file to which several links lead is read once, under its own name if it lies in the folder.
    Hidden files and folders are left out, and those that archives and network storage leave behind.

    Raises:
        UsageError: if it cannot be read or holds no images, if its splits cannot be told, or if an
            image is in the train split and in another one.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}; give folder:PATH of a folder of images")
    files = _walk(folder)
    if not files:
        raise UsageError(
            f"{folder} holds no images ({', '.join(SUFFIXES)}); hidden files are not read"
        )
    splits: dict[str | None, dict[str, str]] = {}  # names by what is named so
    for file in sorted(files, key=lambda file: (file.is_link, file.name)):
        splits.setdefault(file.split, {}).setdefault(file.real, file.name)
    outside = splits.pop(None, {})
    if not splits:
        return {"train": tuple(sorted(outside.values()))}
    _check_splits(folder, splits, outside)
    return {
        split: tuple(sorted(splits[split].values()))
        for split in ("train", "valid", "test")
        if split in splits
    }


def split_folders(files: Iterable[str]) -> list[str]:
    """The folders that name the splits of these files, such as "imgs/train"; sorted."""
    found = set()
    for file in files:
        folders = file.split("/")[:-1]
        named = [i for i, name in enumerate(folders) if name.casefold() in SPLIT_NAMES]
        if named:
            found.add("/".join(folders[: named[0] + 1]))
    return sorted(found)


def printable(name: str) -> str:
    """A name in one line, whatever characters it has."""
    return name if name.isprintable() else ascii(name)


def _walk(folder: Path) -> list[_File]:
    """All image files, those in folders before those behind links to folders."""
    found: list[_File] = []
    folders, links = deque([("", None, os.path.realpath(folder))]), deque()
    seen: set[tuple[str | None, str]] = set()
    while folders or links:
        prefix, split, real = (folders or links).popleft()
        if (split, real) in seen:
            continue
        seen.add((split, real))
        for entry in _entries(folder / prefix):
            name, is_link = f"{prefix}{entry.name}", entry.is_symlink()
            place = os.path.realpath(entry.path) if is_link else os.path.join(real, entry.name)
            if not _is_folder(entry):
                if entry.name.lower().endswith(SUFFIXES):
                    found.append(_File(name, split, place, is_link))
            elif not (is_link and f"{real}/".startswith(f"{place}/")):  # not back up
                within = split or SPLIT_NAMES.get(entry.name.casefold())
                (links if is_link else folders).append((f"{name}/", within, place))
    return found


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not _is_left_out(entry.name)]
    except OSError as error:
        raise UsageError(f"cannot read the folder {error.filename}: {error.strerror}") from error
    return sorted(kept, key=lambda entry: entry.name)


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _check_splits(
    folder: Path, splits: Mapping[str, Mapping[str, str]], outside: Mapping[str, str]
) -> None:
    """Refuses splits where it is not clear what they hold; logs which images are left out."""
    files = [name for names in splits.values() for name in names.values()]
    folders = ", ".join(map(printable, split_folders(files)[:3]))
    if "train" not in splits:
        raise UsageError(
            f"{folder} holds the folder {folders}, which names a split of the data, but no folder"
            " named train; move the training images to one, or rename that folder"
        )
    for split in splits.keys() - {"train"}:
        for real in splits["train"].keys() & splits[split].keys():
            both = " and ".join(printable(splits[each][real]) for each in ("train", split))
            raise UsageError(
                f"{both} of {folder} are the same file, in the train split and in the {split}"
                " split; remove it from one of them"
            )
    left_out = sorted(name for real, name in outside.items() if not _is_in(real, splits))
    if not left_out:
        return
    first = printable(left_out[0])
    if len(splits) == 1:
        raise UsageError(
            f"{folder} holds the folder {folders} and {len(left_out)} images outside of it, such as"
            f" {first}, but no folder named valid or test; move all images to folders named train,"
            " valid and test, or rename that folder if it is one class of images among others"
        )
    _tell_left_out(folder, len(left_out), first)


@functools.lru_cache(maxsize=4)  # training and evaluation both open the folder
def _tell_left_out(folder: Path, number: int, first: str) -> None:
    log.warning(
        "leaving out the images of %s that lie in no folder named train, valid or test: %d, such"
        " as %s",
        *(folder, number, first),
    )


def _is_in(real: str, splits: Mapping[str, Mapping[str, str]]) -> bool:
    return any(real in names for names in splits.values())
