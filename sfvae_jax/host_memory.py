"""How much memory this machine has for a process."""

from __future__ import annotations

import os
from pathlib import Path


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
