"""Whose a workdir is: the lock as all processes of a run see it, and what a lost one leaves."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import orbax.checkpoint as ocp

from sfvae_jax.errors import UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.lock import FolderLock, read_token

# A network file system may show a new file a minute late.
_LOOKS, _SECONDS_BETWEEN_LOOKS = 180, 0.5


def check_shared(folder: Path, lock: FolderLock | None) -> None:
    """Refuses a folder in which this process does not see the lock that the main one took.

    Args:
        folder: the workdir.
        lock: the main process's; None in the others.

    Raises:
        UsageError: saying what is expected.
    """
    token = int(processes.gathered(0 if lock is None else lock.token)[0])
    for _ in range(_LOOKS):
        if read_token(folder) == token:
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise UsageError(
        f"workdir {shown(folder)} is not the folder that process 0 of this run writes; give one"
        " on a file system that all hosts share, by its absolute path"
    )


def release(lock: FolderLock, checkpoints: Path) -> None:
    """Lets go of a workdir. Where it was lost, what a save brought back of it goes, too.

    Args:
        lock: the workdir's.
        checkpoints: the folder of its checkpoints.
    """
    was_lost = not lock.is_there()
    lock.release()
    workdir = checkpoints.parent
    if not was_lost or {path.name for path in _entries(workdir)} != {checkpoints.name}:
        return
    for path in checkpoints.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        checkpoints.rmdir()
        workdir.rmdir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
