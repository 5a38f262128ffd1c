"""Measures over the steps of a run, from its results.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Metrics = Mapping[str, Any]


def measured_steps(
    results: Mapping[str, Any], holds: Callable[[Metrics], bool]
) -> list[tuple[int, Metrics]]:
    """Returns (step, measures) of all measured steps whose measures `holds`, in rising order."""
    measured = {int(step): metrics for step, metrics in results.get("history", {}).items()}
    if "step" in results:
        measured[int(results["step"])] = results["metrics"]
    return [(step, measured[step]) for step in sorted(measured) if holds(measured[step])]
