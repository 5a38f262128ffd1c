"""Workdirs in which other processes are at work, such as those of a second sweep."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sfvae_jax.training.lock import NAME

# What a run that finds its workdir locked ends with.
OCCUPIED = "another process is at work in workdir"


def is_occupied(workdir: Path) -> bool:
    """Whether another process has locked a workdir now; does not wait and changes nothing."""
    try:
        descriptor = os.open(workdir / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # there is none, as of most workdirs, or the run itself will say why
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file system knows no locks
        return False
    finally:
        os.close(descriptor)
    return False
