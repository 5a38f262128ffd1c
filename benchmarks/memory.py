"""What the machine has left."""

from __future__ import annotations

from pathlib import Path

import jax


def available_bytes() -> int | None:
    """Bytes that a new program can have on the first device; None where nothing tells."""
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
    lines = (line.split() for line in table.read_text().splitlines())
    return next((1024 * int(line[1]) for line in lines if line[0] == "MemAvailable:"), None)
