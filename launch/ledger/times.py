"""Times in words, with two digits."""

from __future__ import annotations

import math

_UNITS = ((1.0, "s", 99.5), (60.0, "minutes", 99.5), (3600.0, "hours", math.inf))


def duration(seconds: float) -> str:
    """Formats a time, as in "48 s", "3.1 minutes" or "12 hours"."""
    size, unit = next((size, unit) for size, unit, most in _UNITS if seconds / size < most)
    value = seconds / size
    return f"{value:.{0 if value >= 9.95 or unit == 's' else 1}f} {unit}"


def between(least: str, most: str) -> str:
    """Formats a range of durations, with a common unit only once: "10 to 13 minutes"."""
    first, _, unit = least.partition(" ")
    return f"{first if most.endswith(f' {unit}') else least} to {most}"
