"""The memory of this machine: how much a process may use, and keeping what it frees."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# Names of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory for later allocations of any size.

    XLA's CPU backend allocates the temporary arrays of every call anew. glibc takes blocks above
    32 MiB from the kernel and gives them back, and the kernel clears them, 4 KiB at a time, at
    every first use: for convolutional networks that takes longer than the arithmetic. The price is
    that the process keeps its largest size to its end. The settings only affect later allocations,
    so a program should call this at its start.

    Returns:
        Whether the C library has these settings; if not, nothing changes.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # the C library is not glibc
        return False
    # Arenas other than the first cannot grow beyond 64 MiB and would use the kernel after all.
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1))
    return all([mallopt(name, value) == 1 for name, value in settings])


def host_memory() -> int | None:
    """Returns the bytes of memory that processes may use: the host's, or a container's limit.

    Memory in use is not subtracted, because it differs from one start to the next. None if the
    system does not say.
    """
    if not hasattr(os, "sysconf"):
        return None
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(host, _container_limit(host))


def _container_limit(otherwise: int) -> int:
    """Returns the memory limit of a Linux container, or else the given number."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
    except OSError:
        return otherwise
    return int(limit) if limit.isdigit() else otherwise
