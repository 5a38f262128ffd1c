"""Files that are written whole or not at all, and JSON that is checked when it is read."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn

from sfvae_jax.errors import UsageError
from sfvae_jax.paths import not_regular

_LARGEST = 2**27  # bytes of a JSON file; what a run writes is far below
_DEEPEST = 100  # levels of nesting; deeper ones exhaust the stack of whoever walks through them
# What some network and user-space file systems answer when a folder is to be synchronised.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_DIGITS = 19  # of a whole number, as many as 64 bits need


class NotJson(UsageError):
    """A file holds no JSON object of the kind that the library writes; the message says why."""


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds, checked as `parse_json` does.

    Raises:
        NotJson: if it holds something else; a `UsageError`.
        UsageError: if it is missing, may not be read, or is no regular file.
    """
    try:
        text = read_regular(path, _LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(text) > _LARGEST:
        raise NotJson(f"cannot read {path}: it has more than {_LARGEST:,} bytes")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise NotJson(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise NotJson(f"cannot read {path}: it holds no JSON object")
    return content


def parse_json(text: bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text.

    Stricter than `json.loads`: it refuses a key that stands twice in one object, nesting of more
    than 100 levels, whole numbers of more than 19 digits and, where `finite`, numbers that are
    not finite.

    Args:
        text: in UTF-8.
        finite: whether NaN and infinite numbers are refused.

    Raises:
        ValueError: in one line, if it is no such JSON.
    """
    try:
        content = json.loads(
            text.decode(),
            object_pairs_hook=_unique,
            parse_int=_whole_number,
            parse_float=_finite if finite else float,
            parse_constant=_no_number if finite else float,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError(f"it nests more than {_DEEPEST} levels") from error
    _check_depth(content)
    return content


def read_regular(path: Path, most: int = -1) -> bytes:
    """The first bytes of a regular file, all of them by default.

    Raises:
        OSError: if it cannot be read, or is something else: a named pipe would never end.
    """
    problem = not_regular(path)
    if problem:
        raise OSError(errno.EINVAL, f"it is {problem}", str(path))
    with path.open("rb") as file:
        return file.read(most)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """JSON as files have it, in lines, without numbers that are not finite."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8, whole or not at all."""
    write_bytes(path, text.encode(errors="backslashreplace"))  # of a file's name that is no UTF-8


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all; once written, it survives a failure of the machine.

    Raises:
        OSError: naming the file, if it cannot be written; what was there stays as it was.
    """
    unfinished = partial(path)
    try:
        unfinished.unlink(missing_ok=True)  # of a killed process; a link there is not followed
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def partial(path: Path) -> Path:
    """Where a file is written before it is whole; a killed process may leave it."""
    return path.with_name(f".{path.name}.partial")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:100]!r} stands twice in one object")
        found[key] = value
    return found


def _whole_number(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS:
        raise ValueError(f"it holds a whole number of more than {_DIGITS} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits[:100])


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is no finite number")


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _parts(outer)]
        if not level:
            return
    raise ValueError(f"it nests more than {_DEEPEST} levels")


def _parts(outer: Any) -> list[Any]:
    if isinstance(outer, dict):
        return list(outer.values())
    return outer if isinstance(outer, list) else []
