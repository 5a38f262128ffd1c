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
