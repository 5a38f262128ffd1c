"""The user's cache folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def user_cache_folder(name: str) -> tuple[Path, bool]:
    """Returns the folder `sfvae_jax/NAME` in $XDG_CACHE_HOME or ~/.cache, made if it is missing.

    A relative $XDG_CACHE_HOME is ignored, as its specification demands.

    Returns:
        The folder, and whether it can be written to.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(given if os.path.isabs(given) else "~/.cache") / "sfvae_jax" / name
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        return folder, os.access(folder, os.W_OK | os.X_OK)
    except (OSError, RuntimeError, ValueError):  # a user without a home, a NUL
        return folder, False


def write_whole(file: Path, write: Callable[[BinaryIO], None]) -> str:
    """Writes a cache file, whole or not at all.

    Returns:
        Why it cannot be written, with the name of the file; "" if it is written.
    """
    # Another process may be writing the same file.
    unfinished = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
    try:
        with unfinished.open("xb") as stream:
            write(stream)
        os.replace(unfinished, file)
    except OSError as error:
        return f"cannot write {file}: {error.strerror or error}"
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return ""
