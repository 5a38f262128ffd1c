"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache_folder(name: str) -> tuple[Path, bool]:
    """The folder `sfvae_jax/NAME` in $XDG_CACHE_HOME or ~/.cache, made where it is not there.

    Returns:
        The folder, and whether it can be written.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sfvae_jax" / name
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        return folder, os.access(folder, os.W_OK | os.X_OK)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return folder, False
