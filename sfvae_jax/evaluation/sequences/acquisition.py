"""Bayesian optimisation in batches: a Gaussian process, and where it expects improvement.

Targets are maximised. The Gaussian process is scikit-learn's. The package bayesian-optimization is
not used: its batches (`ConstantLiar`) fit the process again for each of their points, and climb
from one point at a time by finite differences, which takes minutes for one batch in 25 dimensions.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

NUM_FITTED = 400  # points that the kernel's scales are fitted to
_NUM_RANDOM = 4000  # random points that are considered for a batch
_NUM_CLIMBING = 100  # the most promising of these, from which a climb starts
NUM_POOLED = 400  # the most promising of these, which may be taken as they are
_MOST_STEPS = 30  # of a climb
_LEAST = 1e-300  # the smallest improvement whose logarithm is taken


class Box(NamedTuple):
    """The smallest and the greatest value of each dimension, each [m]."""

    lower: np.ndarray
    upper: np.ndarray


def suggest_batch(
    rng: np.random.Generator, codes: np.ndarray, targets: np.ndarray, number: int
) -> np.ndarray:
    """Returns codes at which greater targets are expected, all in the box of the known codes.

    The batch is chosen greedily. After each point the process is told that the best target so far
    was found there (the constant liar), so that the next point is worth trying as well.

    Args:
        rng: draws the points that are tried.
        codes: the known codes, [n, m].
        targets: their targets, [n].
        number: how many new codes to choose.

    Returns:
        New codes, [number, m].
    """
    # All dimensions share one scale, so that those that the encoder hardly uses stay small.
    center, scale = codes.mean(axis=0), np.sqrt(np.mean(codes.var(axis=0)))
    scale = scale if scale > 0 else 1.0
    points = (codes - center) / scale
    process = fit_process(rng, points, targets)
    box = Box(points.min(axis=0), points.max(axis=0))
    best = float(process.predict(points).max())
    pool = _pool(rng, process, box, best)
    chosen = _greedy(process, pool, best, number)
    return center + scale * pool[chosen]


def fit_process(
    rng: np.random.Generator, points: np.ndarray, targets: np.ndarray
) -> GaussianProcessRegressor:
    """Returns a Gaussian process with noise, fitted to standardised targets.

    Its kernel is amplitude * exp(-|z - z'|^2 / (2 length^2)). Amplitude, length and noise maximise
    the marginal likelihood of `NUM_FITTED` random points.

    Args:
        rng: draws these points.
        points: [n, m], with a variance of about 1.
        targets: [n].
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    spread = np.std(targets)
    scaled = (targets - np.mean(targets)) / (spread if spread > 0 else 1.0)
    length = RBF(np.sqrt(points.shape[1]), (0.05, 100.0))
    kernel = ConstantKernel(0.5, (1e-3, 1e2)) * length + WhiteKernel(0.5, (1e-4, 2.0))
    few = rng.permutation(len(points))[:NUM_FITTED]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a scale is at its bound does not concern the user
        fitted = GaussianProcessRegressor(kernel).fit(points[few], scaled[few]).kernel_
    process = GaussianProcessRegressor(fitted.k1, alpha=fitted.k2.noise_level, optimizer=None)
    return process.fit(points, scaled)


def expected_improvement(mean: np.ndarray, stddev: np.ndarray, best: float) -> np.ndarray:
    """Returns E[max(f - best, 0)] for f ~ N(mean, stddev^2), [n].

    It is (mean - best) Phi(u) + stddev phi(u), u = (mean - best) / stddev (Jones et al., 1998).

    Args:
        mean: [n].
        stddev: [n], positive.
        best: the value to be surpassed.
    """
    from scipy.special import ndtr

    u = (mean - best) / stddev
    density = np.exp(-(u**2) / 2.0) / np.sqrt(2.0 * np.pi)
    return np.maximum((mean - best) * ndtr(u) + stddev * density, 0.0)


def log_improvement(
    process: GaussianProcessRegressor, points: np.ndarray, best: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logarithm of the expected improvement [n], and its gradient [n, m].

    d EI = Phi(u) d mean + phi(u) d stddev, u = (mean - best) / stddev.

    Args:
        process: a process from `fit_process`.
        points: [n, m].
        best: the value to be surpassed.
    """
    from scipy.linalg import cho_solve
    from scipy.special import ndtr

    known, length = process.X_train_, process.kernel_.k2.length_scale
    covariance = process.kernel_(points, known)  # [n, N]
    solved = cho_solve((process.L_, True), covariance.T).T
    mean = covariance @ process.alpha_
    variance = process.kernel_.diag(points) - np.sum(covariance * solved, axis=1)
    stddev = np.sqrt(np.maximum(variance, 1e-12))
    improvement = np.maximum(expected_improvement(mean, stddev, best), _LEAST)
    u = (mean - best) / stddev
    density = np.exp(-0.5 * u**2) / np.sqrt(2.0 * np.pi)
    # The gradient of the kernel is d k(z, z') / dz = k(z, z') (z' - z) / length^2.
    change = ndtr(u)[:, None] * process.alpha_ - (density / stddev)[:, None] * solved
    weights = covariance * change / improvement[:, None]
    gradient = (weights @ known - points * weights.sum(axis=1, keepdims=True)) / length**2
    return np.log(improvement), gradient


def _pool(
    rng: np.random.Generator, process: GaussianProcessRegressor, box: Box, best: float
) -> np.ndarray:
    """Returns points to choose a batch from: promising random ones, and tops above them."""
    random = _random_points(rng, process, box)
    mean, stddev = process.predict(random, return_std=True)
    improvement = expected_improvement(mean, stddev, best)
    promising = random[np.argsort(-improvement)[:NUM_POOLED]]
    pool = np.concatenate([_climb(process, promising[:_NUM_CLIMBING], box, best), promising])
    # Several climbs may end at one top.
    _, distinct = np.unique(np.round(pool, 3), axis=0, return_index=True)
    return pool[distinct]


def _random_points(
    rng: np.random.Generator, process: GaussianProcessRegressor, box: Box
) -> np.ndarray:
    """Returns random points: half uniform in the box, half near known points of great means."""
    half, size = _NUM_RANDOM // 2, len(box.lower)
    known = process.X_train_
    centers = known[np.argsort(-process.predict(known))[: max(len(known) // 20, 1)]]
    noise = 0.3 * rng.standard_normal((half, size))
    near = centers[rng.integers(len(centers), size=half)] + noise
    uniform = rng.uniform(box.lower, box.upper, (half, size))
    return np.concatenate([uniform, np.clip(near, box.lower, box.upper)])


def _climb(
    process: GaussianProcessRegressor, points: np.ndarray, box: Box, best: float
) -> np.ndarray:
    """Returns where climbs of the expected improvement from points [n, m] end, as one problem."""
    from scipy.optimize import minimize

    def negative(flat: np.ndarray) -> tuple[float, np.ndarray]:
        values, gradient = log_improvement(process, flat.reshape(points.shape), best)
        return -float(values.sum()), -gradient.ravel()

    bounds = np.tile(np.stack(box, axis=1), (len(points), 1))
    options = {"maxiter": _MOST_STEPS}
    found = minimize(negative, points.ravel(), jac=True, bounds=bounds, options=options)
    return found.x.reshape(points.shape)


def _greedy(
    process: GaussianProcessRegressor, pool: np.ndarray, best: float, number: int
) -> list[int]:
    """Returns the places of a batch in the pool, each time where most improvement is expected."""
    mean, covariance = process.predict(pool, return_cov=True)
    open_, chosen = np.ones(len(pool), bool), []
    for _ in range(number):
        stddev = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        improvement = np.where(open_, expected_improvement(mean, stddev, best), -1.0)
        place = int(np.argmax(improvement))
        open_[place] = False
        chosen.append(place)
        # The lie is noiseless, so that the same point would bring no further improvement.
        column = covariance[:, place]
        gain = column / max(column[place], 1e-9)
        mean = mean + gain * (best - mean[place])
        covariance = covariance - np.outer(gain, column)
    return chosen
