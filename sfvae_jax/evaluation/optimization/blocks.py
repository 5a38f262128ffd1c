"""Statistics of independent blocks of draws: products of means without bias, and the jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

_COLUMNS = 2**18  # that are converted to float64 at once


def gram(vectors: np.ndarray) -> np.ndarray:
    """Returns the scalar products of the rows of [K, D], summed in float64, [K, K]."""
    found = np.zeros((len(vectors), len(vectors)))
    for start in range(0, vectors.shape[1], _COLUMNS):
        part = vectors[:, start : start + _COLUMNS].astype(np.float64)
        found += part @ part.T
    return found


def squared_norm_of_mean(products: np.ndarray) -> float:
    """Returns an unbiased estimate of |E v|^2 from independent vectors v_1 ... v_K.

    1 / (K (K - 1)) sum_{k != l} v_k'v_l

    The expectation of each term is |E v|^2, since v_k and v_l are independent, whereas the squared
    norm of the vectors' mean is too large by the trace of its covariance. The estimate may be
    negative.

    Args:
        products: v_k'v_l, [K, K] with K of 2 or more, as `gram` returns them.
    """
    number = len(products)
    return float((np.sum(products) - np.trace(products)) / (number * (number - 1)))


def with_jackknife_error(
    statistic: Callable[[np.ndarray], float], number: int
) -> tuple[float, float]:
    """Returns a statistic of K independent blocks, and its standard error by the jackknife.

    With t_k the statistic without block k, and t their mean, the error is
    sqrt((K - 1) / K sum_k (t_k - t)^2). For a mean it is the usual deviation / sqrt(K).

    Args:
        statistic: takes the indices of the blocks that count.
        number: K, 3 or more.
    """
    blocks = np.arange(number)
    without = np.array([statistic(np.delete(blocks, block)) for block in blocks])
    spread = np.sum(np.square(without - without.mean()))
    return statistic(blocks), math.sqrt((number - 1) / number * spread)
