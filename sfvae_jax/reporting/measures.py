"""How reports write measures: label, unit and digits, as the spec of their evaluation has them."""

from __future__ import annotations

from sfvae_jax.evaluation import measure_named

# The ending of a measure that is the standard deviation of another over a run's own trials.
DEVIATION = "_deviation"


def title(measure: str) -> str:
    """Returns what a person calls a measure."""
    return measure_named(measure).label


def with_unit(measure: str) -> str:
    """Returns the title of a measure with its unit, as the label of an axis."""
    known = measure_named(measure)
    return f"{known.label} ({known.unit})" if known.unit else known.label


def unit(measure: str) -> str:
    """Returns the unit of a measure; empty if it has none."""
    return measure_named(measure).unit


def better(measure: str) -> str:
    """Returns which values are better, such as "less is better"; empty if neither is."""
    known = measure_named(measure)
    return f"{known.better} is better" if known.better else ""


def is_percentage(measure: str) -> bool:
    """Returns whether a measure is a share in [0, 1] that is shown in percent."""
    return measure_named(measure).is_percentage


def is_error(measure: str) -> bool:
    """Returns whether a measure only says how uncertain another one is."""
    return measure_named(measure).is_error


def number(measure: str, value: float, deviation: float | None) -> str:
    """Formats a measure's mean ± deviation with the digits and unit that its spec names."""
    known = measure_named(measure)
    scale, sign = (100, "%") if known.is_percentage else (1, "")
    numbers = [value] if deviation is None else [value, deviation]
    return " ± ".join(f"{scale * each:.{known.digits}f}{sign}" for each in numbers)
