"""The lock of a workdir as all processes of a run see it, and the clean-up of a lost workdir."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from sfvae_jax.errors import UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runs.checkpoints.folders import remove_temporary
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.lock import FolderLock, read_token

# A network file system may show a new file a minute late.
_LOOKS, _SECONDS_BETWEEN_LOOKS = 180, 0.5


def check_shared(folder: Path, lock: FolderLock | None) -> None:
    """Checks that this process sees the lock that the main process took.

    Args:
        folder: the workdir.
        lock: the lock in the main process; None in the others.

    Raises:
        UsageError: if it does not, because the hosts do not share the folder.
    """
    token = int(processes.gathered(0 if lock is None else lock.token)[0])
    for _ in range(_LOOKS):
        if read_token(folder) == token:
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise UsageError(
        f"workdir {shown(folder)} is not the folder that process 0 of this run writes to; give the"
        " absolute path of a folder on a file system that all hosts share"
    )


def release(lock: FolderLock, checkpoints: Path) -> None:
    """Releases a workdir; if it was lost, removes what an unfinished save has recreated of it.

    Args:
        lock: that of the workdir.
        checkpoints: the folder of its checkpoints.
    """
    was_lost = not lock.is_there()
    lock.release()
    workdir = checkpoints.parent
    if not was_lost or {path.name for path in _entries(workdir)} != {checkpoints.name}:
        return
    remove_temporary(checkpoints)
    with contextlib.suppress(OSError):
        checkpoints.rmdir()
        workdir.rmdir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
