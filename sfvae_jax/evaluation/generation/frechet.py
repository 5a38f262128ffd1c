"""The Frechet distance between the Gaussians that two sets of features fit."""

from __future__ import annotations

import dataclasses

import numpy as np

_ROWS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and scatter of features that may come in batches; float64.

    Attributes:
        count: N, how many features were seen.
        mean: [d].
        scatter: sum over the features f of (f - mean) (f - mean)', [d, d].
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Those of one batch [N, d], N >= 1."""
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or not len(features):
            raise ValueError(f"features must be [N, d] and not empty, got shape {features.shape}")
        mean = features.mean(axis=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: Moments) -> Moments:
        """Those of both batches together (Chan, Golub and LeVeque, 1979)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        between = np.outer(shift, shift) * (self.count * other.count / count)
        return Moments(
            count, self.mean + shift * (other.count / count), self.scatter + other.scatter + between
        )

    def covariance(self) -> np.ndarray:
        """The unbiased estimate, scatter / (N - 1), [d, d]."""
        if self.count < 2:
            raise ValueError("a covariance needs two features or more, got one")
        return self.scatter / (self.count - 1)


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and unbiased covariance [d, d] of features [N, d], in float64.

    Only a few thousand rows at a time are held in float64.

    Raises:
        ValueError: if there are fewer than two, or they are not of rank 2.
    """
    starts = range(0, max(len(features), 1), _ROWS_AT_ONCE)
    whole, *rest = (Moments.of(features[i : i + _ROWS_AT_ONCE]) for i in starts)
    for batch in rest:
        whole = whole.merge(batch)
    return whole.mean, whole.covariance()


def frechet_distance(
    mean1: np.ndarray, covariance1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray
) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians (Dowson and Landau, 1982).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); of Inception features it is the FID (Heusel et al.,
    2017). With C = A A', the trace of the root is the sum of the singular values of A1' A2. The
    factors come from symmetric eigendecompositions without the directions that rounding alone
    fills, so that it is real and finite also where the covariances are singular (N < d).

    Args:
        mean1: m1, [d].
        covariance1: C1, symmetric and positive semi-definite, [d, d].
        mean2: m2, [d].
        covariance2: C2, [d, d].

    Returns:
        A number, 0 or more, in squared units of the features.

    Raises:
        ValueError: if the shapes do not fit, or something is not finite.
    """
    mean1, covariance1, mean2, covariance2 = (
        np.asarray(a, np.float64) for a in (mean1, covariance1, mean2, covariance2)
    )
    d = mean1.shape[0] if mean1.ndim == 1 else -1
    for name, found, expected in (
        ("mean1", mean1, (d,)),
        ("mean2", mean2, (d,)),
        ("covariance1", covariance1, (d, d)),
        ("covariance2", covariance2, (d, d)),
    ):
        if found.shape != expected:
            raise ValueError(f"{name} must be shaped {expected}, got {found.shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"{name} is not finite")
    root_trace = np.linalg.svd(_factor(covariance1).T @ _factor(covariance2), compute_uv=False)
    total = np.trace(covariance1) + np.trace(covariance2) - 2.0 * np.sum(root_trace)
    return float(np.sum(np.square(mean1 - mean2)) + max(total, 0.0))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """A [d, r] with A A' the covariance, r its numerical rank."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2.0)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])
