"""One checkpoint on disk, read with the proof that it is what was saved.

Damage shows however the files were changed: beside the arrays stand digests of their bytes, and a
digest of these digests. Nothing here waits for another process or changes a file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore as ts

from sfvae_jax.errors import RunError
from sfvae_jax.paths import shown
from sfvae_jax.runtime.files import parse_json, read_regular

# Where Orbax keeps what belongs to a step, and the arrays.
_METADATA, _ARRAYS = "_CHECKPOINT_METADATA", "default"
_LARGEST_METADATA = 2**24  # bytes; each array takes some 100
_LONGEST = 300  # of what is told of an error, in characters
_ERROR_NUMBER = re.compile("os_error_code='([0-9]+)'")  # in what TensorStore says
_ADDED = re.compile(r" \[(?:source locations|tensorstore_spec)=")


# The type and the shape of arrays by their names.
Layout = dict[str, tuple[str, tuple[int, ...]]]


class Damaged(Exception):
    """A checkpoint is not what was saved; the message says how this shows."""


def proof(tree: Any) -> dict[str, Any]:
    """What is saved with a tree of arrays so that `read` can tell whether it is still the same."""
    arrays = digests(by_name(tree))
    return {"arrays": arrays, "digest": _of_text(arrays)}


def digests(arrays: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Type, shape and a digest of the bytes of each array."""
    # hashlib lets other threads run: several arrays take the time of the largest.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(_of_array, arrays.values()))
    return dict(zip(arrays, found, strict=True))


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by the names under which Orbax keeps them."""
    return {leaf_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def leaf_name(path: tuple[Any, ...]) -> str:
    """The name under which Orbax keeps a leaf."""
    return ".".join(
        str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", None)))) for key in path
    )


def layout_of(tree: Any) -> Layout:
    """Type and shape of each array of a tree, by the names under which Orbax keeps them."""
    return {
        name: (str(leaf.dtype), tuple(map(int, leaf.shape))) for name, leaf in by_name(tree).items()
    }


def read(
    folder: Path,
    check: Callable[[Layout], None],
    wanted: Callable[[str], bool] = lambda name: True,
) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of one checkpoint by their names.

    Args:
        folder: of its step.
        check: is given the types and shapes of all arrays before anything is made room for, and
            raises what it has against them: a few bytes can declare more numbers than there is
            memory.
        wanted: whether an array of this name is to be read.

    Returns:
        The arrays, and whether they were proved; False for one of an earlier version, which has no
        digests.

    Raises:
        Damaged: if it is not what was saved.
        RunError: if it may not be read, which is no damage.
    """
    _check_files(folder)
    recorded = _recorded(folder)
    database = _Database(folder.absolute() / _ARRAYS)
    if recorded is None:
        with _telling(folder):
            layout = database.layout(database.names())
    else:
        layout = {name: (dtype, tuple(shape)) for name, (dtype, shape, _) in recorded.items()}
    check(layout)
    names = [name for name in layout if wanted(name)]
    with _telling(folder):
        declared = database.layout(names)
        for name in names:
            if declared[name] != layout[name]:
                raise Damaged(f"{name} has changed")
        arrays = database.read(names)
    if recorded is not None:
        _compare({name: recorded[name] for name in names}, digests(arrays))
    return arrays, recorded is not None


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """What TensorStore has against the files of a checkpoint is damage, but for the system's."""
    try:
        yield
    except (MemoryError, Damaged):
        raise
    except Exception as error:  # TensorStore raises many kinds
        message = one_line(error).replace(f"{folder.absolute()}/", "")[:_LONGEST]
        if _is_of_the_system(error):
            raise RunError(f"cannot read {shown(folder)}: {message}") from error
        raise Damaged(message) from error


def one_line(error: BaseException) -> str:
    """What an error says, without what its library adds to it."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    number = _ERROR_NUMBER.search(text)
    if number:
        return os.strerror(int(number[1]))
    return " ".join(_ADDED.split(text)[0].split())


def _is_of_the_system(error: Exception) -> bool:
    """Whether a read failed for a reason that may pass: too many open files, a server away."""
    text = str(error)
    code = re.search(r"os_error_code='(\d+)'", text)
    if code is not None:
        return int(code[1]) not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
    return text.startswith(("RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"))


def _check_files(folder: Path) -> None:
    """Refuses what Orbax never writes, a link out of the folder above all."""
    pending = [folder]
    while pending:
        path = pending.pop()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise Damaged(f"{_inside(path, folder)} is a symbolic link")
        if not os.access(path, os.R_OK):
            raise RunError(f"cannot read {shown(path)}: permission denied")
        if stat.S_ISDIR(mode):
            pending += path.iterdir()
        elif not stat.S_ISREG(mode) or path == folder:
            raise Damaged(f"{_inside(path, folder)} is neither folder nor file of a checkpoint")


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder.parent).as_posix()


def _recorded(folder: Path) -> dict[str, list[Any]] | None:
    """The digests that were saved with a checkpoint; None for one of an earlier version."""
    try:
        text = read_regular(folder / _METADATA, _LARGEST_METADATA + 1)
        if len(text) > _LARGEST_METADATA:
            raise Damaged(f"{_METADATA} has more than {_LARGEST_METADATA:,} bytes")
        kept = parse_json(text, finite=False)["custom_metadata"]
        if kept == {}:
            return None
        arrays, digest = kept["arrays"], kept["digest"]
    except FileNotFoundError as error:
        raise Damaged(f"{_METADATA} is missing") from error
    except (ValueError, LookupError, TypeError) as error:
        raise Damaged(f"{_METADATA} cannot be read") from error
    if not isinstance(arrays, dict) or _of_text(arrays) != digest:
        raise Damaged(f"{_METADATA} has changed")
    if not all(map(_is_entry, arrays.values())):
        raise Damaged(f"{_METADATA} cannot be read")
    return arrays


def _is_entry(entry: Any) -> bool:
    """Whether it is what `digests` says of an array."""
    if not isinstance(entry, list) or len(entry) != 3:
        return False
    dtype, shape, digest = entry
    sizes = shape if isinstance(shape, list) else [None]
    return (
        isinstance(dtype, str)
        and isinstance(digest, str)
        and all(isinstance(size, int) and size >= 0 for size in sizes)
    )


class _Database:
    """The database that Orbax keeps the arrays of a checkpoint in.

    Read without Orbax, which has all arrays read at once and, when one cannot be, leaves the
    readers of the others behind, whose tracebacks then fill the screen.
    """

    def __init__(self, folder: Path) -> None:
        self._context = ts.Context()  # nothing of an earlier reading is remembered
        files = {"driver": "file", "path": f"{folder.as_posix()}/"}
        self._spec = {"driver": "ocdbt", "base": files}
        self._stores: dict[str, ts.TensorStore] = {}

    def names(self) -> list[str]:
        """The names of all arrays."""
        keys = ts.KvStore.open(self._spec, context=self._context).result().list().result()
        return sorted({key.decode().partition("/")[0] for key in keys})

    def layout(self, names: Iterable[str]) -> Layout:
        """Types and shapes of these arrays; of what they hold nothing is read.

        Raises:
            Damaged: if one is cut into pieces that are larger than itself.
        """
        opened = {name: ts.open(self._of(name), read=True, context=self._context) for name in names}
        self._stores = {name: store.result() for name, store in opened.items()}
        for name, store in self._stores.items():
            piece = store.chunk_layout.read_chunk.shape or ()
            if any(size > max(whole, 1) for size, whole in zip(piece, store.shape, strict=True)):
                raise Damaged(f"{name} has changed")
        return {
            name: (store.dtype.name, tuple(store.shape)) for name, store in self._stores.items()
        }

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """The numbers of arrays that `layout` has opened."""
        found = {name: self._stores[name].read() for name in names}
        return {name: array.result() for name, array in found.items()}

    def _of(self, name: str) -> dict[str, Any]:
        return {"driver": "auto", "kvstore": {**self._spec, "path": f"{name}/"}}


def _compare(recorded: dict[str, list[Any]], found: dict[str, list[Any]]) -> None:
    for name in sorted(recorded.keys() | found.keys()):
        if recorded.get(name) != found.get(name):
            how = "is missing" if name not in found else "has changed"
            raise Damaged(f"{name} {how}")


def _of_array(leaf: Any) -> list[Any]:
    array = np.asarray(leaf)
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    digest = hashlib.blake2b(content.data, digest_size=16).hexdigest()
    return [str(array.dtype), list(array.shape), digest]


def _of_text(content: Any) -> str:
    text = json.dumps(content, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()
