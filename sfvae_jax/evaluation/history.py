"""What a results.json holds of the steps at which a run was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Metrics = Mapping[str, Any]


def measured_steps(
    results: Mapping[str, Any], holds: Callable[[Metrics], bool]
) -> list[tuple[int, Metrics]]:
    """(step, measures) of the named steps and the last one, rising, of those for which `holds`."""
    measured = {int(step): metrics for step, metrics in results.get("history", {}).items()}
    if "step" in results:
        measured[int(results["step"])] = results["metrics"]
    return [(step, measured[step]) for step in sorted(measured) if holds(measured[step])]
