"""The folders of checkpoints, named by their steps, and of damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

# The ending of the name of a damaged file or checkpoint that is set aside.
DAMAGED = ".damaged"
# What Orbax puts into the name of a checkpoint that is not whole yet.
TEMPORARY = ".orbax-checkpoint-tmp"


def checkpoint_steps(folder: Path) -> list[int]:
    """Returns the steps of all checkpoints in a folder, whole or damaged, the newest first."""
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir())
    return sorted((int(name) for name in names if is_step(name)), reverse=True)


def remove_temporary(folder: Path) -> None:
    """Removes what unfinished saves have left in a folder of checkpoints."""
    for path in folder.glob(f"*{TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def is_step(name: str) -> bool:
    """Whether a text is a step as it is written here: decimal digits, below 2^31."""
    number = name.isascii() and name.isdecimal() and len(name) <= 10
    return number and name == str(int(name)) and int(name) < 2**31
