"""example.json: the shape of an example, by which a run can be loaded without its data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.files import read_json, write_json

_NAME = "example.json"


def write(workdir: Path, shape: Sequence[int]) -> None:
    """Records the shape of an example in a workdir; only the main process does.

    Raises:
        RunError: if it cannot be written.
    """
    if not processes.is_main() or read(workdir) == tuple(shape):
        return
    path = workdir / _NAME
    try:
        write_json(path, {"shape": [int(size) for size in shape]})
    except OSError as error:
        raise RunError(f"cannot write {shown(path)}: {error.strerror}") from error


def read(workdir: Path) -> tuple[int, ...] | None:
    """Returns the shape of an example; None if the workdir has no whole record of it."""
    try:
        return tuple(int(size) for size in read_json(workdir / _NAME)["shape"])
    except (UsageError, LookupError, TypeError, ValueError):
        return None
