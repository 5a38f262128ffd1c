"""The memory of this machine: how much a process may use, and that it keeps what it freed."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# Names of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory for later allocations, however large.

    XLA's CPU backend allocates the temporary arrays of every call anew. glibc takes what is above
    32 MiB from the kernel and gives it back, and the kernel then clears it, 4 KiB at a time, at
    every first touch: for the convolutional networks that takes longer than the arithmetic. The
    price is that the process keeps its largest size to its end. It holds for allocations after the
    call, so that it belongs at the start of a program.

    Returns:
        Whether the C library has these settings; where it has not, nothing changes.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library than glibc
        return False
    # Other arenas than the first cannot grow beyond 64 MiB and would map after all.
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1))
    return all([mallopt(name, value) == 1 for name, value in settings])


def host_memory() -> int | None:
    """Bytes of memory that processes may use here: the host's, or a container's limit.

    Free memory is not asked for, since it differs from one start to the next. None where the
    system does not say.
    """
    if not hasattr(os, "sysconf"):
        return None
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(host, _container_limit(host))


def _container_limit(otherwise: int) -> int:
    """A container's limit, where Linux has one."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
    except OSError:
        return otherwise
    return int(limit) if limit.isdigit() else otherwise
