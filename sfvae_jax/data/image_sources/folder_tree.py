"""Finds the image files in a folder and the split to which each belongs."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import os
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from sfvae_jax.data.image_sources.image_files import SUFFIXES
from sfvae_jax.errors import UsageError

# The split to which the images in a folder of this name belong, in upper or lower case.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}

# Folders that archives, file systems and network storage leave behind; names that begin with a dot
# are left out as well.
_LEFT_BEHIND = (
    *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin"),
    *("system volume information", "lost+found"),
)

log = logging.getLogger("sfvae_jax")


@dataclasses.dataclass(frozen=True)
class _File:
    """An image file in the folder.

    Attributes:
        name: its path relative to the folder, with "/".
        split: the split named by the outermost of its folders that is in SPLIT_NAMES; None if there
            is no such folder.
        real: its path without links.
        is_link: whether the file itself is a link.
    """

    name: str
    split: str | None
    real: str
    is_link: bool


def list_images(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Returns the names of the image files below a folder by split, relative to it and sorted.

    Folders with a name of SPLIT_NAMES, at any depth, are the splits, and images outside of them are
    left out; without such folders all images belong to the split "train". Links are followed; a
    file to which several links lead is read once, under its own name if it is in the folder. Hidden
    files and folders are left out, and those that archives and network storage leave behind.

    Raises:
        UsageError: if the folder cannot be read or holds no images, if it is not clear which images
            belong to which split, or if an image is in the train split and in another one.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}; give folder:PATH of a folder of images")
    files = _walk(folder)
    if not files:
        raise UsageError(
            f"{folder} holds no images ({', '.join(SUFFIXES)}); hidden files are not read"
        )
    splits: dict[str | None, dict[str, str]] = {}  # of each, the names by their paths without links
    for file in sorted(files, key=lambda file: (file.is_link, file.name)):
        splits.setdefault(file.split, {}).setdefault(file.real, file.name)
    outside = splits.pop(None, {})
    if not splits:
        return {"train": tuple(sorted(outside.values()))}
    order = ("train", "valid", "test")
    named: dict[str, dict[str, str]] = {name: splits[name] for name in order if name in splits}
    _check_splits(folder, named, outside)
    return {split: tuple(sorted(names.values())) for split, names in named.items()}


def split_folders(files: Iterable[str]) -> list[str]:
    """Returns the folders that name the splits of these files, such as "imgs/train", sorted."""
    found = set()
    for file in files:
        folders = file.split("/")[:-1]
        named = [i for i, name in enumerate(folders) if name.casefold() in SPLIT_NAMES]
        if named:
            found.add("/".join(folders[: named[0] + 1]))
    return sorted(found)


def printable(name: str) -> str:
    """Returns a name in one line, with escapes for characters that cannot be printed."""
    return name if name.isprintable() else ascii(name)


def _walk(folder: Path) -> list[_File]:
    """Returns all image files, those in folders before those behind links to folders."""
    found: list[_File] = []
    folders: deque[tuple[str, str | None, str]] = deque([("", None, os.path.realpath(folder))])
    links: deque[tuple[str, str | None, str]] = deque()
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
            elif not (is_link and _is_above(place, real)):
                within = split or SPLIT_NAMES.get(entry.name.casefold())
                (links if is_link else folders).append((f"{name}/", within, place))
    return found


def _is_above(place: str, folder: str) -> bool:
    """Returns whether a folder lies in a place or is the place; a link to it would never end."""
    return f"{folder}/".startswith(f"{place}/")


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
    """Checks that it is clear what each split holds; logs which images are left out."""
    files = [name for names in splits.values() for name in names.values()]
    folders = ", ".join(map(printable, split_folders(files)[:3]))
    if "train" not in splits:
        raise UsageError(
            f"{folder} holds the folder {folders}, which has the name of a split, but no folder"
            " named train; move the training images to a folder named train, or rename that folder"
        )
    for one, other in itertools.combinations(sorted(splits), 2):
        for real in splits[one].keys() & splits[other].keys():
            both = " and ".join(printable(splits[each][real]) for each in (one, other))
            raise UsageError(
                f"{both} of {folder} are the same file, in the {one} split and in the {other}"
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
            " valid and test, or rename that folder if it is only one class of images"
        )
    _warn_left_out(folder, len(left_out), first)


@functools.lru_cache(maxsize=4)  # training and evaluation both open the folder
def _warn_left_out(folder: Path, number: int, first: str) -> None:
    log.warning(
        "leaving out %d images in %s that are not in a folder named train, valid or test, such as"
        " %s",
        *(number, folder, first),
    )


def _is_in(real: str, splits: Mapping[str, Mapping[str, str]]) -> bool:
    return any(real in names for names in splits.values())
