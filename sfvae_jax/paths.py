"""Paths that a user gives, made safe to hand on; the one place that interprets `~`, `..` and links.

TensorStore refuses paths with `..`, and a folder named `gs:` is never what was meant: what takes
a path from a flag, a config or a caller passes it through `local_path` first.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from sfvae_jax.errors import UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def local_path(given: str | os.PathLike, key: str) -> Path:
    """The absolute path of a file or folder, without `~`, `..` or links; it need not exist.

    Args:
        given: as the user wrote it.
        key: what it was given for, as the user wrote it before the path, such as `--workdir`, or
            `data.name=npz:` where no equals sign follows.

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
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no such user, a NUL
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"{_named(key, repr(text))} is no usable path: {reason}") from error


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_file(given: str | os.PathLike, key: str) -> Path:
    """The absolute path of a regular file that exists, as `local_path` gives it.

    To open a named pipe can wait for ever, and a device can be read for ever: whatever reads a
    file that a user names passes its path through here first.

    Args:
        given: as the user wrote it.
        key: what it was given for, as in `local_path`.

    Raises:
        UsageError: if it is no local path, does not exist or is something else.
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
    """What stands at a path in place of a regular file, such as "a named pipe"; "" if one does.

    Links are followed.

    Raises:
        OSError: if nothing stands there, or it cannot be known.
    """
    mode = os.stat(path).st_mode
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


def _named(key: str, given: str | os.PathLike) -> str:
    """A path in a message, as the user gave it."""
    return f"{key}{'' if key.endswith(':') else '='}{os.fspath(given)}"


def shown(path: Path) -> str:
    """A path as messages show it: relative to the current folder where it lies below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (OSError, ValueError):  # it lies elsewhere, or the current folder is gone
        return str(path)
