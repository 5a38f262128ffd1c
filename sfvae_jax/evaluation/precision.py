"""How far a mean over images can be trusted."""

from __future__ import annotations

import math

import numpy as np

from sfvae_jax.evaluation.codes import NotApplicable


def standard_error(values: np.ndarray) -> float | NotApplicable:
    """Standard error of the mean of N independent values [N]: their deviation over sqrt(N)."""
    if len(values) < 2:
        return NotApplicable("one image has no standard error")
    return float(np.std(values, ddof=1, dtype=np.float64) / math.sqrt(len(values)))


def ratio_of_means(values: np.ndarray, others: np.ndarray) -> tuple[float, float | NotApplicable]:
    """mean(values) / mean(others) of N independent pairs [N], and its standard error.

    The error is that of the mean of (values - ratio * others) / mean(others): the delta method,
    to first order in 1 / sqrt(N).
    """
    values, others = np.asarray(values, np.float64), np.asarray(others, np.float64)
    scale = np.mean(others)
    ratio = float(np.mean(values) / scale)
    return ratio, standard_error((values - ratio * others) / scale)
