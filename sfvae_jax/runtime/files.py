"""Writing files whole or not at all, and reading JSON with checks."""

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

_LARGEST = 2**27  # bytes of a JSON file, far more than a run writes
_DEEPEST = 100  # levels of nesting; recursive functions fail on much deeper ones
# The errors of network and user-space file systems that cannot synchronise a folder.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_DIGITS = 19  # of a whole number of 64 bits


class NotJson(UsageError):
    """A file does not hold a JSON object of the kind that the library writes."""


def read_json(path: Path) -> dict[str, Any]:
    """Reads the object in a JSON file, with the checks of `parse_json`.

    Raises:
        NotJson: if it holds something else; this is a `UsageError`.
        UsageError: if it is missing, cannot be read or is not a regular file.
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
        raise NotJson(f"cannot read {path}: it does not hold a JSON object")
    return content


def parse_json(text: bytes, *, finite: bool = True) -> Any:
    """Parses a JSON text, more strictly than `json.loads` does.

    It refuses a key that occurs twice in one object, more than 100 levels of nesting, whole numbers
    of more than 19 digits and, if `finite`, numbers that are not finite.

    Args:
        text: the JSON in UTF-8.
        finite: whether NaN and infinite numbers are refused.

    Raises:
        ValueError: saying in one line why it is refused.
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
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep") from error
    _check_depth(content)
    return content


def read_regular(path: Path, most: int = -1) -> bytes:
    """Reads the first bytes of a regular file, all of them by default.

    Raises:
        OSError: if it cannot be read, or is something else, such as a pipe that never ends.
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
    """Formats JSON as files hold it: indented, and with finite numbers only."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8, whole or not at all."""
    write_bytes(path, text.encode(errors="backslashreplace"))  # names of files may not be UTF-8


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all; once written, it survives a failure of the machine.

    Raises:
        OSError: naming the file, if it cannot be written; its earlier content stays.
    """
    unfinished = partial(path)
    try:
        unfinished.unlink(missing_ok=True)  # left by a killed process; a link is not followed
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
    """Returns the path of a file while it is being written; a killed process may leave it."""
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
            raise ValueError(f"the key {key[:100]!r} occurs twice in one object")
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
    raise ValueError(f"it holds {text}, which is not a finite number")


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _parts(outer)]
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEEPEST} levels deep")


def _parts(outer: Any) -> list[Any]:
    if isinstance(outer, dict):
        return list(outer.values())
    return outer if isinstance(outer, list) else []
