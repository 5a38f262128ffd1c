"""Standard errors of means over examples."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sfvae_jax.evaluation.measured import Measured, NotApplicable, Value


def with_error(name: str, value: Value, error: Value) -> Measured:
    """Returns a measure with its standard error, NAME_standard_error."""
    return {name: value, f"{name}_standard_error": error}


def standard_error(values: np.ndarray) -> Value:
    """Returns the standard error of the mean of N independent values [N]: deviation / sqrt(N)."""
    if len(values) < 2:
        return NotApplicable("a single example has no standard error")
    return float(np.std(values, ddof=1, dtype=np.float64) / math.sqrt(len(values)))


def monte_carlo_error(errors: np.ndarray, draw: str) -> Value:
    """Returns what other draws would change of a mean over examples: sqrt(sum_i se_i^2) / N.

    Args:
        errors: the standard error of each example by its draws, [N]; nan if there is one draw.
        draw: what was drawn, for the reason.
    """
    if np.isnan(errors).all():
        return NotApplicable(f"a single {draw} has no standard error")
    return float(np.linalg.norm(errors) / len(errors))


def ratio_of_means(values: np.ndarray, others: np.ndarray) -> tuple[float, Value]:
    """Returns mean(values) / mean(others) of N independent pairs [N], and its standard error.

    The error is that of the mean of (values - ratio * others) / mean(others), by the delta method
    to first order in 1 / sqrt(N).
    """
    values, others = np.asarray(values, np.float64), np.asarray(others, np.float64)
    scale = np.mean(others)
    ratio = float(np.mean(values) / scale)
    return ratio, standard_error((values - ratio * others) / scale)


def means_with_errors(columns: Mapping[str, np.ndarray | NotApplicable]) -> Measured:
    """Returns the mean of each column [N] and NAME_standard_error, or the reason it has none."""
    found: Measured = {}
    for name, values in columns.items():
        if isinstance(values, NotApplicable):
            found |= with_error(name, values, values)
        else:
            mean = np.mean(values, dtype=np.float64)  # log densities have few digits in float32
            found |= with_error(name, float(mean), standard_error(values))
    return found


def relative(name: str, values: np.ndarray, others: np.ndarray, reason: str) -> Measured:
    """Returns `ratio_of_means` and NAME_standard_error, or the reason if all others are 0."""
    if not np.any(others):
        missing = NotApplicable(reason)
        return with_error(name, missing, missing)
    return with_error(name, *ratio_of_means(values, others))
