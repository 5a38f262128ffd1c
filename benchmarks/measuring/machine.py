"""The device, and how much memory it has left."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def device_name() -> str:
    """Returns the name of the first device; for a CPU its number of cores."""
    device = jax.devices()[0]
    return f"cpu, {os.cpu_count()} cores" if device.platform == "cpu" else device.device_kind


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
