"""Measures as a person reads them, by what the spec of their evaluation says."""

from __future__ import annotations

from sfvae_jax.evaluation import measure_named

DEVIATION = "_deviation"
"""The ending of a measure that is the standard deviation of another over a run's own trials."""


def title(measure: str) -> str:
    """Returns what a person calls a measure."""
    return measure_named(measure).label


def with_unit(measure: str) -> str:
    """Returns the title of a measure with its unit, as the label of an axis."""
    known = measure_named(measure)
    return f"{known.label} ({known.unit})" if known.unit else known.label


def is_error(measure: str) -> bool:
    """Returns whether it says how far another measure can be trusted."""
    return measure_named(measure).is_error


def number(measure: str, value: float, deviation: float | None) -> str:
    """Returns a measure's mean ± deviation with as many digits as its values are told apart by."""
    known = measure_named(measure)
    scale, sign = (100, "%") if known.is_percentage else (1, "")
    numbers = [value] if deviation is None else [value, deviation]
    return " ± ".join(f"{scale * each:.{known.digits}f}{sign}" for each in numbers)
