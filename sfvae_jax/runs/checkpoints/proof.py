"""Reading one checkpoint with the proof that it is what was saved.

Digests of the arrays are saved with them, and a digest of these digests: any change of the files
shows as damage. Nothing here waits for another process or changes a file.
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

# The names under which Orbax keeps the metadata of a step, and its arrays.
_METADATA, _ARRAYS = "_CHECKPOINT_METADATA", "default"
_LARGEST_METADATA = 2**24  # bytes; each array takes about 100
_LONGEST = 300  # characters of an error in a message
_ERROR_NUMBER = re.compile("os_error_code='([0-9]+)'")  # in a message of TensorStore
_ADDED = re.compile(r" \[(?:source locations|tensorstore_spec)=")


# Type and shape of each array, by name.
Layout = dict[str, tuple[str, tuple[int, ...]]]


class Damaged(Exception):
    """A checkpoint is not what was saved; the message says what is wrong."""


def proof(tree: Any) -> dict[str, Any]:
    """Returns what is saved beside a tree of arrays to let `read` see whether it has changed."""
    arrays = digests(by_name(tree))
    return {"arrays": arrays, "digest": _of_text(arrays)}


def digests(arrays: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns type, shape and a digest of the bytes of each array."""
    # hashlib releases the lock of the interpreter: all arrays take the time of the largest.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(_of_array, arrays.values()))
    return dict(zip(arrays, found, strict=True))


def by_name(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by the names under which Orbax keeps them."""
    return {leaf_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def leaf_name(path: tuple[Any, ...]) -> str:
    """Returns the name under which Orbax keeps a leaf."""
    return ".".join(
        str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", None)))) for key in path
    )


def layout_of(tree: Any) -> Layout:
    """Returns type and shape of each array of a tree, by the names under which Orbax keeps them."""
    return {
        name: (str(leaf.dtype), tuple(map(int, leaf.shape))) for name, leaf in by_name(tree).items()
    }


def read(
    folder: Path,
    check: Callable[[Layout], None],
    wanted: Callable[[str], bool] = lambda name: True,
) -> tuple[dict[str, np.ndarray], bool]:
    """Reads the arrays of one checkpoint, by name.

    Args:
        folder: the folder of its step.
        check: takes the types and shapes of all arrays before memory is allocated for them, and
            raises an error if they are wrong: a few bytes can declare more numbers than fit into
            memory.
        wanted: whether to read the array of a name.

    Returns:
        The arrays, and whether they were proved; checkpoints of earlier versions have no digests.

    Raises:
        Damaged: if it is not what was saved.
        RunError: if it cannot be read for another reason, such as its permissions.
    """
    _check_files(folder)
    recorded = _recorded(folder)
    database = _Database(folder.absolute() / _ARRAYS)
    if recorded is None:
        with _errors_as_damage(folder):
            layout = database.layout(database.names())
    else:
        layout = {name: (dtype, tuple(shape)) for name, (dtype, shape, _) in recorded.items()}
    check(layout)
    names = [name for name in layout if wanted(name)]
    with _errors_as_damage(folder):
        declared = database.layout(names)
        for name in names:
            if declared[name] != layout[name]:
                raise Damaged(f"{name} has changed")
        arrays = database.read(names)
    if recorded is not None:
        _compare({name: recorded[name] for name in names}, digests(arrays))
    return arrays, recorded is not None


@contextmanager
def _errors_as_damage(folder: Path) -> Iterator[None]:
    """Turns errors of TensorStore into `Damaged`, or into `RunError` if the system caused them."""
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
    """Returns the message of an error without what its library adds to it."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    number = _ERROR_NUMBER.search(text)
    if number:
        return os.strerror(int(number[1]))
    return " ".join(_ADDED.split(text)[0].split())


def _is_of_the_system(error: Exception) -> bool:
    """Whether a read failed for a reason that may pass, such as too many open files."""
    text = str(error)
    code = re.search(r"os_error_code='(\d+)'", text)
    if code is not None:
        return int(code[1]) not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
    return text.startswith(("RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"))


def _check_files(folder: Path) -> None:
    """Checks that a folder holds only what Orbax writes; a link could lead out of the folder."""
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
            raise Damaged(f"{_inside(path, folder)} is neither a folder nor a file")


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder.parent).as_posix()


def _recorded(folder: Path) -> dict[str, list[Any]] | None:
    """Returns the digests saved with a checkpoint; None for one of an earlier version."""
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
    """Whether a value is an entry of `digests`."""
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
    """The database in which Orbax keeps the arrays of a checkpoint.

    It is read without Orbax, which reads all arrays at once and, if one fails, abandons the readers
    of the others, whose tracebacks then fill the screen.
    """

    def __init__(self, folder: Path) -> None:
        self._context = ts.Context()  # nothing is cached from an earlier reading
        files = {"driver": "file", "path": f"{folder.as_posix()}/"}
        self._spec = {"driver": "ocdbt", "base": files}
        self._stores: dict[str, ts.TensorStore] = {}

    def names(self) -> list[str]:
        """Returns the names of all arrays."""
        keys = ts.KvStore.open(self._spec, context=self._context).result().list().result()
        return sorted({key.decode().partition("/")[0] for key in keys})

    def layout(self, names: Iterable[str]) -> Layout:
        """Returns types and shapes of these arrays without reading their content.

        Raises:
            Damaged: if one is stored in pieces larger than itself.
        """
        opened = {name: ts.open(self._of(name), read=True, context=self._context) for name in names}
        self._stores = {name: store.result() for name, store in opened.items()}
        for name, store in self._stores.items():
            piece = store.chunk_layout.read_chunk.shape or ()
            pairs = zip(piece, store.shape, strict=True)
            if any(size is None or size > max(whole, 1) for size, whole in pairs):
                raise Damaged(f"{name} has changed")
        return {
            name: (store.dtype.name, tuple(store.shape)) for name, store in self._stores.items()
        }

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Reads the arrays, which `layout` has opened."""
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
