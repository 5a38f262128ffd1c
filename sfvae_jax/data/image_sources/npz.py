"""A user's own arrays, in a file of `numpy.savez`."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from sfvae_jax.data.archive import Archive, Header, Unreadable
from sfvae_jax.data.held_out import identities_of_rows
from sfvae_jax.data.preprocessing import as_stored, number_text
from sfvae_jax.data.source import ArraySplit, DataSource
from sfvae_jax.data.stored_examples import fits_in_memory
from sfvae_jax.errors import UsageError, listed, readable
from sfvae_jax.paths import file_stamp, regular_file
from sfvae_jax.runtime.memory import host_memory

_SPLITS = ("train", "test", "valid")
_SHARE_OF_MEMORY = 0.5  # how much of the host's memory the arrays of the file may take
_DARK = 15  # of 255: values up to this one are nearly black
_NAMED_AT_MOST = 10
_LONGEST = 40  # characters of a name that are shown

log = logging.getLogger("sfvae_jax")


def open_npz(path: str) -> Mapping[str, ArraySplit]:
    """Opens the array x_train and, if they exist, x_test and x_valid, with labels y_train, ...

    Whole numbers are levels of 0..255 unless those of all splits are 0 or 1; this is decided once
    for the data set, and logged. Types, shapes and sizes are checked before any array is read.
    Pickled objects are never loaded.

    Raises:
        UsageError: if the file cannot be read or holds something else.
    """
    file = regular_file(path, "data.name=npz:")
    return _open(file, file_stamp(file))


@functools.lru_cache(maxsize=1)  # training and evaluation open the same file
def _open(file: Path, stamp: tuple[int, int]) -> Mapping[str, ArraySplit]:
    """Opens the file as it is when it has this stamp."""
    del stamp
    arrays = _read(file)
    images = {name: array for name, array in arrays.items() if name.startswith("x_")}
    one_bit = all(array.max() <= 1 for array in images.values() if array.dtype.kind in "iu")
    found = {
        name: as_stored(array, f"{name} of {file}", one_bit=one_bit)
        for name, array in images.items()
    }
    _log_interpretation(images, one_bit, file)
    return {
        name[2:]: ArraySplit(
            array, _labels(arrays, name[2:], len(array)), identities=identities_of_rows(array)
        )
        for name, array in found.items()
    }


def _read(file: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of all splits and their labels, once they are known to fit."""
    try:
        with Archive(file) as archive:
            names = _wanted(archive.names, file)
            headers = {name: archive.header(name) for name in names}
            _check(headers, file)
            return {name: archive.read(name) for name in names}
    except Unreadable as error:
        raise UsageError(
            f"cannot read {file}: {error}; expected arrays such as x_train and x_test in a file of"
            " numpy.savez"
        ) from error


def _wanted(names: tuple[str, ...], file: Path) -> list[str]:
    splits = [split for split in _SPLITS if f"x_{split}" in names]
    if "train" not in splits:
        found = readable(listed([name[:_LONGEST] for name in names], _NAMED_AT_MOST))
        raise UsageError(
            f"{file} must hold an array x_train, and may hold x_test and x_valid; it holds"
            f" {found or 'no named arrays'}"
        )
    return [f"{kind}_{split}" for split in splits for kind in "xy" if f"{kind}_{split}" in names]


def _check(headers: Mapping[str, Header], file: Path) -> None:
    """Checks that the arrays fit together, and in memory."""
    for name, header in headers.items():
        if name.startswith("x_"):
            _check_images(name, header, headers["x_train"], file)
        else:
            _check_labels(name, header, headers[f"x_{name[2:]}"].shape[0], file)
    as_read = sum(header.nbytes for header in headers.values())
    kept = sum(
        math.prod(header.shape) * (4 if header.dtype.kind == "f" else 1)
        for name, header in headers.items()
        if name.startswith("x_")
    )
    memory = host_memory()
    if not fits_in_memory(kept) or (memory and as_read > _SHARE_OF_MEMORY * memory):
        raise UsageError(
            f"the arrays of {file} take {as_read / 2**30:.1f} GiB, more than memory can hold;"
            " use fewer images, uint8 instead of floats, or folder:PATH of image files, which are"
            " read when they are needed"
        )


def _check_images(name: str, header: Header, train: Header, file: Path) -> None:
    if len(header.shape) < 2 or 0 in header.shape:
        raise UsageError(f"{name} of {file} has shape {header.shape}; expected [N, ...], not empty")
    if header.dtype.kind not in "biuf":
        raise UsageError(f"{name} of {file} has the type {header.dtype}; expected numbers")
    if header.shape[1:] != train.shape[1:]:
        raise UsageError(
            f"x_train and {name} of {file} have examples of different shapes: {train.shape[1:]} and"
            f" {header.shape[1:]}"
        )


def _check_labels(name: str, header: Header, number: int, file: Path) -> None:
    if header.shape not in ((number,), (number, 1)) or header.dtype.kind not in "biu":
        raise UsageError(
            f"{name} of {file} has the type {header.dtype} and shape {header.shape}; expected a"
            f" whole number for each of the {number} images, or no such array"
        )


def _labels(arrays: Mapping[str, np.ndarray], split: str, number: int) -> np.ndarray | None:
    labels = arrays.get(f"y_{split}")
    return None if labels is None else labels.reshape(number).astype(np.int64)


def _log_interpretation(images: Mapping[str, np.ndarray], one_bit: bool, file: Path) -> None:
    """Logs how the values of the images are interpreted."""
    log.info("%s: %s", file, "; ".join(_interpreted(images, one_bit)))
    shape = images["x_train"].shape
    if len(shape) == 4 and shape[1] <= 4 < min(shape[2:]):
        log.warning(
            "x_train of %s has shape %s, read as [N, height, width, channels]. If its channels come"
            " first, save numpy.moveaxis(x, 1, -1)",
            *(file, shape),
        )
    whole = [array.max() for array in images.values() if array.dtype.kind in "iu"]
    if whole and not one_bit and max(whole) <= _DARK:
        log.warning(
            "the images of %s are nearly black: their largest value is %d of 255. If that value"
            " means white, divide the images by it and save them as floats",
            *(file, max(whole)),
        )


def _interpreted(images: Mapping[str, np.ndarray], one_bit: bool) -> Iterator[str]:
    whole = "whole numbers from {} to {}, read as " + (
        "0 = black and 1 = white" if one_bit else "levels of 0..255"
    )
    floats = "floats from {} to {}, read as levels of [0, 1]"
    for kinds, text in (("b", "booleans, read as True = white"), ("iu", whole), ("f", floats)):
        named = {name: array for name, array in images.items() if array.dtype.kind in kinds}
        if named:
            low = min(array.min() for array in named.values())
            high = max(array.max() for array in named.values())
            yield f"{', '.join(named)}: {text.format(number_text(low), number_text(high))}"


NPZ = DataSource(
    "npz:",
    "your own arrays x_train, x_test, ... in a file of numpy.savez",
    lambda group, path: open_npz(path),
    held_out_by="the values of the example",
)
