"""Precision and recall of distributions (Sajjadi et al., 2018; RAE Appendix E)."""

from __future__ import annotations

import numpy as np

from sfvae_jax.evaluation.threads import one_thread

BETA = 8.0


def prd_of_histograms(
    real: np.ndarray, generated: np.ndarray, *, num_angles: int = 1001
) -> tuple[np.ndarray, np.ndarray]:
    """The PRD curve of two distributions over the same K states.

    precision(l) = sum_k min(l real_k, generated_k),   recall(l) = precision(l) / l,   for slopes
    l = tan(angle), the angles evenly spaced from 0 to pi/2 (Sajjadi et al., Algorithm 1).

    Args:
        real: probabilities of the reference, [K].
        generated: those of what is judged, [K].
        num_angles: points of the curve.

    Returns:
        (precision, recall), each [num_angles] in [0, 1].

    Raises:
        ValueError: if they are no two distributions over the same states.
    """
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    if real.ndim != 1 or real.shape != generated.shape:
        raise ValueError(f"need two histograms [K], got shapes {real.shape} and {generated.shape}")
    for name, histogram in (("real", real), ("generated", generated)):
        if np.any(histogram < 0) or not np.isclose(histogram.sum(), 1.0):
            raise ValueError(f"{name} must be probabilities that sum to 1")
    edge = 1e-10  # the slopes at 0 and pi/2 are 0 and infinite
    slopes = np.tan(np.linspace(edge, np.pi / 2 - edge, num_angles))
    precision = np.minimum(slopes[:, None] * real[None], generated[None]).sum(axis=1)
    return np.clip(precision, 0.0, 1.0), np.clip(precision / slopes, 0.0, 1.0)


def prd(
    features_real: np.ndarray,
    features_generated: np.ndarray,
    *,
    num_clusters: int = 20,
    num_angles: int = 1001,
    num_runs: int = 10,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The PRD curve of two sets of features, over the clusters of their union.

    Mini-batch k-means of scikit-learn finds the states; the curve is the mean of several runs.

    Args:
        features_real: of the reference, [N, d].
        features_generated: of what is judged, as many: [N, d]. Unequal numbers would bias the
            clusters towards the larger set.
        num_clusters: K, at most 2 N.
        num_angles: points of the curve.
        num_runs: clusterings that are averaged.
        seed: of the first; each next one adds 1.

    Returns:
        (precision, recall), each [num_angles] in [0, 1].

    Raises:
        ValueError: if the shapes differ, or there are fewer features than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    if features_real.shape != features_generated.shape or features_real.ndim != 2:
        raise ValueError(
            f"need two sets of features of one shape [N, d], got {features_real.shape} and"
            f" {features_generated.shape}"
        )
    number = len(features_real)
    if 2 * number < num_clusters:
        raise ValueError(f"{num_clusters} clusters need as many features, got {2 * number}")
    union = np.concatenate([features_real, features_generated]).astype(np.float64)
    curves = []
    for run in range(num_runs):
        clusters = MiniBatchKMeans(num_clusters, n_init=10, random_state=seed + run)
        with one_thread():
            states = clusters.fit_predict(union)
        histograms = (
            np.bincount(part, minlength=num_clusters) / number
            for part in (states[:number], states[number:])
        )
        curves.append(prd_of_histograms(*histograms, num_angles=num_angles))
    precision, recall = np.mean(curves, axis=0)
    return precision, recall


def max_f_beta(precision: np.ndarray, recall: np.ndarray, beta: float) -> float:
    """The greatest F_beta on a PRD curve, max (1 + b^2) p r / (b^2 p + r).

    With beta = 8 it weighs recall, with 1/8 precision: the pair that Sajjadi et al. put in place of
    a whole curve.

    Args:
        precision: [num_angles].
        recall: [num_angles].
        beta: positive.

    Returns:
        A number in [0, 1].
    """
    square = beta**2
    below = square * precision + recall
    above = (1.0 + square) * precision * recall
    return float(np.max(np.divide(above, below, out=np.zeros_like(below), where=below > 0.0)))
