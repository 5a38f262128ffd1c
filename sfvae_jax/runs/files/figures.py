"""figures/: pictures of one checkpoint, each written whole or not at all.

Those of other steps are in folders beside them.
"""

from __future__ import annotations

import os
from pathlib import Path

from sfvae_jax.runtime.files import write_bytes


def set_aside(figures: Path, step: int | None) -> Path | None:
    """Moves the figures into a folder beside them, named by their step.

    Args:
        figures: their folder.
        step: step of their checkpoint; None if it is not known.

    Returns:
        The new folder; None if there are no figures.

    Raises:
        OSError: if they cannot be moved.
    """
    if not figures.is_dir():
        return None
    found = [path for path in figures.iterdir() if path.is_file()]
    if not found:
        return None
    aside = figures / "step_unknown" if step is None else of_step(figures, step)
    aside.mkdir(exist_ok=True)
    for path in found:
        os.replace(path, aside / path.name)
    return aside


def publish(drawn: Path, figures: Path, step: int | None = None) -> None:
    """Copies a drawn file into the folder of figures, which is made if its parent exists.

    Args:
        drawn: the file.
        figures: the folder.
        step: the step whose folder it goes to; None: none.

    Raises:
        OSError: if it cannot be written.
    """
    figures.mkdir(exist_ok=True)
    folder = figures if step is None else of_step(figures, step)
    folder.mkdir(exist_ok=True)
    write_bytes(folder / drawn.name, drawn.read_bytes())


def of_step(figures: Path, step: int) -> Path:
    """Returns the folder of the pictures of a step."""
    return figures / f"step_{step}"
