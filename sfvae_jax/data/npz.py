"""A user's own arrays."""

from __future__ import annotations

import functools
import os
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from sfvae_jax.data.held_out import identities_of_rows
from sfvae_jax.data.parts import ArrayPart
from sfvae_jax.data.preprocessing import as_stored
from sfvae_jax.errors import UsageError

_REQUIRED = ("x_train", "x_test")
_OPTIONAL = ("x_valid", "y_train", "y_valid", "y_test")


def open_npz(path: str) -> Mapping[str, ArrayPart]:
    """The images x_train, x_test and, if there, x_valid of an .npz file, labelled by y_train, ...

    Pickled objects are never loaded.

    Raises:
        UsageError: if the file cannot be read or holds something else.
    """
    try:
        file = os.stat(os.path.expanduser(path))
        stamp = (file.st_size, file.st_mtime_ns)
    except OSError:
        stamp = None  # `_read` says what is wrong
    return _open(path, stamp)


@functools.lru_cache(maxsize=1)  # every part of the data set asks for it
def _open(path: str, stamp: tuple[int, int] | None) -> Mapping[str, ArrayPart]:
    """The file as it is at this size and time of change."""
    del stamp
    arrays = _read(path)
    images = {name[2:]: array for name, array in arrays.items() if name.startswith("x_")}
    for part, array in images.items():
        if array.ndim < 2 or 0 in array.shape:
            raise UsageError(
                f"x_{part} of {path} has shape {array.shape}; expected [N, ...], not empty"
            )
    images = {part: as_stored(array, f"x_{part} of {path}") for part, array in images.items()}
    shape = images["train"].shape[1:]
    for part, array in images.items():
        if array.shape[1:] != shape:
            raise UsageError(
                f"x_train and x_{part} of {path} differ in the shape of an example:"
                f" {shape} and {array.shape[1:]}"
            )
    return {
        part: ArrayPart(
            array,
            _labels(arrays.get(f"y_{part}"), len(array), f"y_{part} of {path}"),
            identities=identities_of_rows(array),
        )
        for part, array in images.items()
    }


def _read(path: str) -> dict[str, np.ndarray]:
    try:
        # A .npy file loads as a bare array, which has no names to look up.
        archive = np.load(os.path.expanduser(path), allow_pickle=False)
        names = list(getattr(archive, "files", []))
        if not set(_REQUIRED) <= set(names):
            found = ", ".join(names) or "no named arrays"
            raise UsageError(f"{path} needs arrays x_train and x_test; it holds: {found}")
        wanted = [name for name in (*_REQUIRED, *_OPTIONAL) if name in names]
        return {name: np.asanyarray(archive[name]) for name in wanted}
    except FileNotFoundError:
        raise UsageError(f"there is no file {path!r}; give npz:PATH of an .npz file") from None
    except UsageError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        detail = " ".join(str(error).split())
        raise UsageError(f"cannot read {path} without unpickling: {detail}") from error


def _labels(labels: np.ndarray | None, number: int, origin: str) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.shape not in ((number,), (number, 1)) or labels.dtype.kind not in "biu":
        raise UsageError(
            f"{origin} is {labels.dtype} of shape {labels.shape}; expected a whole number for each"
            f" of the {number} images, or no such array"
        )
    return labels.reshape(number).astype(np.int64)
