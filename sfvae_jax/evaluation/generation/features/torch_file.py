"""Reads arrays from a file of torch.save, without PyTorch and without executing its pickles.

A pickle is a program. Here it may name only four things, two types of numbers and two functions
that make containers, which it can call but not change; any other name is refused before it is
looked up. The size of what it would build is checked before it is built (`opcodes`), and the arrays
together have no more numbers than the file has bytes.
"""

from __future__ import annotations

import functools
import io
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from sfvae_jax.errors import UsageError, in_one_line, readable
from sfvae_jax.evaluation.generation.features.opcodes import check_pickle
from sfvae_jax.paths import regular_file

_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MOST_AXES = 32
_LARGEST = 2**48  # limit of an offset, a length or a stride
_LONGEST = 200  # most characters of an error's text in a message


class _Storage(NamedTuple):
    """A block of numbers in the file: its key, type and length."""

    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage, none of it checked yet."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class _Names(dict):
    """A state dict; attributes that PyTorch attaches to it are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


def _pack_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *ignored: Any) -> _Tensor:
    del ignored  # requires_grad, hooks, metadata
    return _Tensor(storage, offset, shape, strides)


class _Maker:
    """A stand-in for a function that a pickle names, which can be called but not changed.

    The opcode BUILD sets attributes of objects that a pickle names; a function of this module would
    keep them after the read.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets attributes of a function, which no weights need")


_MAKERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _Names,
    ("torch._utils", "_rebuild_tensor_v2"): _pack_tensor,
}
_DTYPES = {("torch", "FloatStorage"): "<f4", ("torch", "LongStorage"): "<i8"}


class _InertUnpickler(pickle.Unpickler):
    """Unpickles containers, numbers and texts; it knows no names but the four above."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _MAKERS:
            return _Maker(_MAKERS[module, name])
        if (module, name) in _DTYPES:
            return _DTYPES[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no weights need")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *view = pid
        named = kind == "storage" and isinstance(dtype, str) and isinstance(key, str)
        if not named or type(size) is not int or size < 0 or any(view):
            raise pickle.UnpicklingError("it refers to something other than a storage of numbers")
        return _Storage(key, dtype, size)


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the state dict that torch.save wrote: float32 and int64 arrays by name.

    It reads the zip format and the older one that PyTorch wrote before version 1.6.

    Raises:
        UsageError: if it is another kind of file, is cut short, asks for anything but arrays, or
            its arrays have more numbers than the file has bytes.
    """
    file = regular_file(path, "file of weights:")
    try:
        with file.open("rb") as content, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about odd texts in pickles
            size = os.fstat(content.fileno()).st_size
            if content.read(4) == b"PK\x03\x04":
                return _read_zip(content, size)
            content.seek(0)
            return _read_legacy(io.BytesIO(content.read()), size)
    except Exception as error:  # a damaged or hostile pickle may raise anything
        reason = readable(in_one_line(error)[:_LONGEST])
        raise UsageError(
            f"cannot read arrays from {path}: {reason}; expected a state dict of torch.save"
        ) from error


def _unpickled(stream: BinaryIO) -> Any:
    """Builds what the next pickle of a stream holds, after a check of its opcodes."""
    start = stream.tell()
    check_pickle(stream)
    end = stream.tell()
    stream.seek(start)
    return _InertUnpickler(io.BytesIO(stream.read(end - start))).load()


def _read_zip(file: BinaryIO, file_size: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(found) != 1:
            raise ValueError(
                f"it is a zip file with {len(found)} entries named data.pkl instead of one"
            )
        if sum(info.compress_size for info in archive.infolist()) > file_size:
            raise ValueError("it is a zip file whose entries overlap")
        folder = found[0].removesuffix("data.pkl")

        @functools.cache  # many tensors may share a storage
        def read(name: str) -> bytes:
            # Without compression nothing that is read can be larger than the file.
            if archive.getinfo(folder + name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")
            return archive.read(folder + name)

        if folder + "byteorder" in archive.namelist() and read("byteorder") != b"little":
            raise ValueError("its numbers are not little-endian")
        tensors = _unpickled(io.BytesIO(read("data.pkl")))
        return _arrays(tensors, lambda storage: read(f"data/{storage.key}"), file_size)


def _read_legacy(file: BinaryIO, file_size: int) -> dict[str, np.ndarray]:
    """Reads five pickles (magic number, protocol, system, state dict, keys), then the storages."""
    magic, protocol, _, tensors, keys = (_unpickled(file) for _ in range(5))
    if (magic, protocol) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise ValueError("it does not begin like a file of torch.save")
    storages = {
        tensor.storage.key: tensor.storage
        for tensor in tensors.values()
        if isinstance(tensor, _Tensor) and isinstance(tensor.storage, _Storage)
    }
    blocks = {}
    for key in keys:
        size = int.from_bytes(file.read(8), "little")
        if key not in storages:
            raise ValueError(f"storage {key!r} belongs to no tensor")
        if size != storages[key].size:
            raise ValueError(f"storage {key} has {size} numbers instead of {storages[key].size}")
        blocks[key] = file.read(size * np.dtype(storages[key].dtype).itemsize)
    missing = storages.keys() - blocks.keys()
    if missing:
        raise ValueError(f"the numbers of storage {min(missing)!r} are missing")
    return _arrays(tensors, lambda storage: blocks[storage.key], file_size)


def _arrays(
    tensors: Any, read: Callable[[_Storage], bytes], most_numbers: int
) -> dict[str, np.ndarray]:
    if not isinstance(tensors, dict):
        raise ValueError(f"it holds a {type(tensors).__name__}")
    arrays, total = {}, 0
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise ValueError(f"one of its names is a {type(name).__name__}")
        view = _view(name, tensor, read)
        total += view.size
        # Thousands of names may share one storage, of which each would get a copy.
        if total > most_numbers:
            raise ValueError(f"its tensors hold more numbers than the file's {most_numbers} bytes")
        arrays[name] = np.array(view)
    return arrays


def _view(name: str, tensor: Any, read: Callable[[_Storage], bytes]) -> np.ndarray:
    """Returns the tensor as a view of its storage's bytes."""
    if not isinstance(tensor, _Tensor) or not isinstance(tensor.storage, _Storage):
        raise ValueError(f"{name} is not a tensor")
    storage, offset, shape, strides = tensor
    if not _is_layout(offset, shape, strides):
        raise ValueError(f"{name} has no valid shape")
    numbers = np.frombuffer(read(storage), storage.dtype)
    if len(numbers) != storage.size:
        raise ValueError(f"{name} is cut short: {len(numbers)} of {storage.size} numbers")
    # The file may lie, so check that the view stays within its storage.
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count > storage.size or (count and last >= storage.size) or offset > storage.size:
        raise ValueError(f"{name} reaches beyond its storage")
    bytes_between = [step * numbers.itemsize for step in strides] if count else None
    return np.ndarray(shape, numbers.dtype, numbers.data, offset * numbers.itemsize, bytes_between)


def _is_layout(offset: Any, shape: Any, strides: Any) -> bool:
    """Returns whether any tensor could have these numbers, apart from its storage's size."""
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        return False
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        return False
    return all(type(i) is int and 0 <= i < _LARGEST for i in (offset, *shape, *strides))
