"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache_folder(name: str) -> tuple[Path, bool]:
    """The folder `sfvae_jax/NAME` in $XDG_CACHE_HOME or ~/.cache, made where it is not there.

    A relative $XDG_CACHE_HOME is passed over, as its specification has it.

    Returns:
        The folder, and whether it can be written.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(given if os.path.isabs(given) else "~/.cache") / "sfvae_jax" / name
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        return folder, os.access(folder, os.W_OK | os.X_OK)
    except (OSError, RuntimeError, ValueError):  # a user without a home, a NUL
        return folder, False
