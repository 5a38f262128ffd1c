"""example.json: the shape of an example, by which a run can be loaded without its data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfvae_jax.errors import UsageError
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.files import read_json, write_json

_NAME = "example.json"


def write(files: Workdir, shape: Sequence[int]) -> None:
    """Records the shape of an example in a workdir; only the main process does.

    Args:
        files: those of the run, which has locked them.
        shape: the shape.

    Raises:
        RunError: if it cannot be written.
    """
    if not processes.is_main() or read(files.folder) == tuple(shape):
        return
    path = files.folder / _NAME
    with files.writing(path):
        write_json(path, {"shape": [int(size) for size in shape]})


def read(workdir: Path) -> tuple[int, ...] | None:
    """Returns the shape of an example; None if the workdir has no whole record of it."""
    try:
        return tuple(int(size) for size in read_json(workdir / _NAME)["shape"])
    except (UsageError, LookupError, TypeError, ValueError):
        return None
