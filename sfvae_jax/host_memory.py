"""How much memory this machine has for a process."""

from __future__ import annotations

import os
from pathlib import Path


def host_memory() -> int | None:
    """Bytes of the host's memory, or of what a container may have of it; None where neither tells.

    Not what is free of it: that differs from one start to the next.
    """
    if not hasattr(os, "sysconf"):
        return None
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(host, _container_limit(host))


def _container_limit(otherwise: int) -> int:
    """What a container may have, where Linux says so."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
    except OSError:
        return otherwise
    return int(limit) if limit.isdigit() else otherwise
