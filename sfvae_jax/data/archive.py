"""Reads the arrays of an .npz file, each of which is checked by its header first.

`numpy.load` believes a header: it allocates as much memory as the header says, and raises all kinds
of errors on damaged files. Here a header is believed only if the file holds as many bytes as the
header promises, and everything that goes wrong raises the same kind of error.
"""

from __future__ import annotations

import ast
import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

import numpy as np

from sfvae_jax.errors import in_one_line, readable

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4}  # bytes of the field with the header's length, by format version
_LONGEST_HEADER = 1000  # bytes; NumPy writes about 128. Keeps deep nesting from Python's parser
_MOST_AXES = 32
_READ_AT_ONCE = 2**20  # bytes
_LONGEST = 200  # characters of an error that are shown


class Unreadable(ValueError):
    """Raised if a file is not an archive of numeric arrays; the message says why, in one line."""


class Header(NamedTuple):
    """The header of an array, checked against the number of bytes in the file.

    Attributes:
        dtype: booleans, whole numbers, floats or text.
        shape: whole numbers, none negative.
        fortran_order: whether the first axis varies fastest.
        start: the number of bytes before the array's own.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool
    start: int

    @property
    def nbytes(self) -> int:
        """The bytes that the array takes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """An open .npz file; a context manager. Nothing in it is ever unpickled.

    Attributes:
        names: the names of its arrays.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file and reads its table of contents.

        Raises:
            Unreadable: if the file is no archive or cannot be read.
        """
        with _unreadable():
            if not zipfile.is_zipfile(path):
                raise Unreadable("it is not an .npz archive")
            self._zip = zipfile.ZipFile(path)
        entries = self._zip.infolist()
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        self.names = tuple(self._entries)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *unused: Any) -> None:
        self._zip.close()

    def header(self, name: str) -> Header:
        """Returns the header of an array.

        Raises:
            Unreadable: if there is no such array, or its header cannot be right.
        """
        if name not in self._entries:
            raise Unreadable(f"it holds no array {name}")
        entry = self._entries[name]
        with _unreadable(f"{name}: "), self._zip.open(entry) as stream:
            header = _read_header(stream)
        if header.start + header.nbytes != entry.file_size:
            raise Unreadable(
                f"{name}: its header states {header.nbytes} bytes of {header.dtype} in shape"
                f" {header.shape}, but there are {entry.file_size - header.start}"
            )
        return header

    def read(self, name: str) -> np.ndarray:
        """Returns an array.

        Raises:
            Unreadable: if its header cannot be right, or it is cut short or damaged.
        """
        header = self.header(name)
        with _unreadable(f"{name}: "), self._zip.open(self._entries[name]) as opened:
            stream = cast(BufferedIOBase, opened)  # for mypy, which does not know its readinto
            stream.read(header.start)
            content = np.empty(header.nbytes, np.uint8)
            view = content.data
            for start in range(0, len(view), _READ_AT_ONCE):
                block = view[start : start + _READ_AT_ONCE]
                if stream.readinto(block) != len(block):
                    raise Unreadable("it is cut short")
            order: Literal["F", "C"] = "F" if header.fortran_order else "C"
            return content.view(header.dtype).reshape(header.shape, order=order)


@contextmanager
def _unreadable(what: str = "") -> Iterator[None]:
    """Turns any error of reading a damaged or hostile file into `Unreadable`, in one line."""
    try:
        yield
    except Exception as error:
        reason = readable(getattr(error, "strerror", None) or in_one_line(error))
        raise Unreadable(f"{what}{reason}"[:_LONGEST]) from error


def _read_header(stream: IO[bytes]) -> Header:
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise Unreadable("it is not a NumPy array")
    version = stream.read(2)
    width = _LENGTH_BYTES.get(version[0])
    if width is None:
        raise Unreadable(f"it has the unknown format version {version[0]}")
    length = int.from_bytes(stream.read(width), "little")
    if length > _LONGEST_HEADER:
        raise Unreadable(f"its header of {length} bytes is too long for an array of numbers")
    start = len(_MAGIC) + 2 + width + length
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python and NumPy, about odd headers
        return _header(ast.literal_eval(stream.read(length).decode("latin1").strip()), start)


def _header(found: Any, start: int) -> Header:
    if not isinstance(found, dict) or found.keys() != {"descr", "fortran_order", "shape"}:
        raise Unreadable("its header does not state type, order and shape")
    shape, fortran_order = found["shape"], found["fortran_order"]
    whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**62 for n in shape)
    if not whole or len(shape) > _MOST_AXES or type(fortran_order) is not bool:
        raise Unreadable(f"no array has shape {shape!r} and fortran_order {fortran_order!r}")
    return Header(_dtype(found["descr"]), shape, fortran_order, start)


def _dtype(description: Any) -> np.dtype:
    dtype = np.dtype(description) if isinstance(description, str) else None
    if dtype is not None and dtype.kind == "O":
        raise Unreadable(
            "it holds Python objects, which only unpickling could read; expected numbers"
        )
    if dtype is None or dtype.kind not in "biufU" or not dtype.itemsize:
        raise Unreadable(f"it holds {description!r}; expected numbers")
    return dtype
