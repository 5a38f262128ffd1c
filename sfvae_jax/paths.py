"""Paths that a user gives, made safe to hand on; the one place that interprets `~`, `..` and links.

TensorStore refuses paths with `..`, and a folder named `gs:` is never what was meant: whatever takes
a path from a flag, a config or a caller passes it through `local_path` first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sfvae_jax.errors import UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def local_path(given: str | os.PathLike, key: str) -> Path:
    """The absolute path of a file or folder, without `~`, `..` or links; it need not exist.

    Args:
        given: as the user wrote it.
        key: what it was given for, as the user knows it, such as `--workdir`.

    Raises:
        UsageError: if it is empty, a URL, or cannot be resolved.
    """
    text = os.fspath(given)
    if not text.strip():
        raise UsageError(f"{key} is empty; expected the path of a local file or folder")
    if _URL.match(text):
        raise UsageError(
            f"{key}={text} is a URL; expected the path of a local or mounted file or folder."
            " Mount the bucket and give the path of its mount"
        )
    try:
        return Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no such user, a NUL
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"{key}={text!r} is no usable path: {reason}") from error


def shown(path: Path) -> str:
    """A path as messages show it: relative to the current folder where it lies below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (OSError, ValueError):  # it lies elsewhere, or the current folder is gone
        return str(path)
