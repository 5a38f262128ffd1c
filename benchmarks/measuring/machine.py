"""The device, and how much memory it has left."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def device_name() -> str:
    """Returns the name of the first device; for a CPU its name and the cores of this process."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    return f"{_processor()}, {cores()} cores"


def cores() -> int:
    """Returns how many cores this process may use."""
    may_use = getattr(os, "sched_getaffinity", None)
    return len(may_use(0)) if may_use else os.cpu_count() or 1


def _processor() -> str:
    """Returns the processor's name and its widest vectors."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    entries = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in lines)}
    flags = entries.get("flags", "").split()
    vectors = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "")
    return " ".join(filter(None, (entries.get("model name", "cpu"), vectors)))


def available_bytes() -> int | None:
    """Returns the bytes that a new program can use on the first device; None if unknown."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return _of_host()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def _of_host() -> int | None:
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    lines = (line.split() for line in table.read_text(encoding="utf-8").splitlines())
    return next((1024 * int(line[1]) for line in lines if line[0] == "MemAvailable:"), None)
