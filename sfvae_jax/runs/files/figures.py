"""The figures of a run: those of one checkpoint alone, each there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from sfvae_jax.runtime.files import write_bytes


def set_aside(figures: Path, step: int | None) -> Path | None:
    """Moves the figures into a folder among them that is named by the step they are of.

    Args:
        figures: their folder.
        step: of their checkpoint; None: it is not known.

    Returns:
        That folder; None if there are no figures.

    Raises:
        OSError: if they cannot be moved.
    """
    if not figures.is_dir():
        return None
    found = [path for path in figures.iterdir() if path.is_file()]
    if not found:
        return None
    aside = figures / ("step_unknown" if step is None else f"step_{step}")
    aside.mkdir(exist_ok=True)
    for path in found:
        os.replace(path, aside / path.name)
    return aside


def publish(drawn: Path, figures: Path) -> None:
    """Writes what was drawn in one folder to another, whose own folder has to be there.

    Raises:
        OSError: if it cannot be written.
    """
    figures.mkdir(exist_ok=True)
    write_bytes(figures / drawn.name, drawn.read_bytes())
