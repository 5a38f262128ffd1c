"""Paths that a user gives, made absolute. This is the only file that resolves `~`, `..` and links.

TensorStore refuses paths with `..`, and a URL such as gs://BUCKET would become a local folder. Code
that takes a path from a flag, a config or a caller passes it through `local_path` first.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from sfvae_jax.errors import UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What a path may lead to instead of a regular file.
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def local_path(given: str | os.PathLike, key: str) -> Path:
    """Returns the absolute path of a file or folder, without `~`, `..` or links; it may not exist.

    Args:
        given: the path as the user wrote it.
        key: what the user wrote before the path, such as `--workdir`, or `data.name=npz:` if no
            equals sign follows.

    Raises:
        UsageError: if it is empty, a URL, or cannot be resolved.
    """
    text = os.fspath(given)
    if not text.strip():
        raise UsageError(f"{key} is empty; expected the path of a local file or folder")
    if _URL.match(text):
        raise UsageError(
            f"{_named(key, text)} is a URL; expected the path of a local or mounted file or folder."
            " Mount the bucket and give the path of its mount"
        )
    try:
        return Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, an unknown user, a NUL
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"{_named(key, repr(text))} is not a usable path: {reason}") from error


def file_stamp(path: str | os.PathLike) -> tuple[int, int]:
    """Returns a file's size and time of its last change; another stamp shows a changed file.

    Raises:
        OSError: if there is no such file.
    """
    found = os.stat(path)
    return (found.st_size, found.st_mtime_ns)


def regular_file(given: str | os.PathLike, key: str) -> Path:
    """Returns the absolute path of a regular file that exists, as `local_path` does.

    Opening a named pipe may wait for ever, and a device may never end. Code that reads a file named
    by the user passes its path through here first.

    Args:
        given: the path as the user wrote it.
        key: what the user wrote before the path, as in `local_path`.

    Raises:
        UsageError: if it is not a local path, does not exist or is not a regular file.
    """
    path, named = local_path(given, key), _named(key, given)
    try:
        problem = not_regular(path)
    except FileNotFoundError:
        raise UsageError(f"{named}: there is no file {str(path)!r}") from None
    except OSError as error:
        raise UsageError(f"{named}: cannot read {str(path)!r}: {error.strerror}") from error
    if problem:
        raise UsageError(f"{named} is {problem}; expected a regular file")
    return path


def not_regular(path: str | os.PathLike) -> str:
    """Names what is at a path if it is not a regular file, such as "a named pipe"; else "".

    Links are followed.

    Raises:
        OSError: if there is nothing, or it cannot be read.
    """
    mode = os.stat(path).st_mode
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a regular file")


def _named(key: str, given: str | os.PathLike) -> str:
    """Formats a path for a message, as the user gave it."""
    return f"{key}{'' if key.endswith(':') else '='}{os.fspath(given)}"


def shown(path: Path) -> str:
    """Formats a path for a message: relative to the current folder if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (OSError, ValueError):  # it is elsewhere, or the current folder is gone
        return str(path)
