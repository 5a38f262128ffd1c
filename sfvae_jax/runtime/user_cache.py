"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


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
