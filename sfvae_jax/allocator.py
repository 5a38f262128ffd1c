"""Memory that a step frees and the next one needs again stays with the process."""

from __future__ import annotations

import ctypes
import sys

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
