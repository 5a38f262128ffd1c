"""The memory of this machine: how much a process may use, and keeping what it frees."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

# Names of glibc's malloc.h, and of Linux's mman.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_MADV_HUGEPAGE = 14
_LARGE_PAGE = 2 * 2**20
# What JAX's packages for accelerators install.
_ACCELERATORS = ("jax_plugins", "libtpu")


def computes_on_cpu() -> bool:
    """Returns whether JAX will compute on the CPU, without importing JAX."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    if asked:
        return asked.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in _ACCELERATORS)


def keep_freed_memory() -> bool:
    """Keeps freed memory for later calls of JAX's CPU backend, in pages of 2 MiB.

    XLA's CPU backend allocates the temporary arrays of every call anew. glibc takes blocks above
    32 MiB from the kernel and gives them back, and the kernel clears them, 4 KiB at a time, at
    every first use: for convolutional networks that takes longer than the arithmetic. The price is
    that the process keeps its largest size to its end. Large pages save look-ups of addresses.

    Only the main thread's arena keeps all of its memory. Those of other threads consist of parts of
    64 MiB, which go back to the kernel when they are empty, and larger blocks come from the kernel.
    So this imports JAX, and lets it compute on the CPU in the thread that calls a computation
    (`jax_cpu_enable_async_dispatch=False`), unless there are several devices. The main thread must
    call this, before JAX has devices, and later the large computations.

    Returns:
        Whether the C library has these settings; if not, nothing changes.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # the C library is not glibc
        return False
    # Threads have arenas of their own: in a common one they would wait for each other, and longer
    # the more small pieces the compiler has left in it.
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
    kept = all([mallopt(name, value) == 1 for name, value in settings])
    if kept:
        _ask_for_large_pages((host_memory() or 0) // 2)  # the kernel refuses what it cannot have
        _compute_in_the_calling_thread()
    return kept


def _compute_in_the_calling_thread() -> None:
    import jax  # takes half a second, which not every caller of this module needs

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def _ask_for_large_pages(size: int) -> None:
    """Makes the heap `size` bytes large, in addresses alone, and its future pages large."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = library.malloc(size)
    if start is None:  # the process may not have as many addresses
        return
    first = -(-start // _LARGE_PAGE) * _LARGE_PAGE
    # Without large pages in the kernel this is an error, and nothing changes.
    library.madvise(first, max(size - 2 * _LARGE_PAGE, 0), _MADV_HUGEPAGE)
    library.free(start)


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
