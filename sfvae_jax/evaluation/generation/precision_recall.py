"""The evaluation `precision_recall`: precision and recall of the generated images' distribution.

Both are those of Sajjadi et al. (2018), as in RAE Appendix E.
"""

from __future__ import annotations

import functools

import ml_collections
import numpy as np

from sfvae_jax.evaluation.generation.comparison import (
    REAL,
    check_files,
    feature_spec,
    features_of,
    needed_splits,
    needs_labels,
    or_reason,
)
from sfvae_jax.evaluation.generation.features.table import FEATURES
from sfvae_jax.evaluation.generation.sources import SOURCES
from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.threads import one_thread
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import Option, some_of

BETA = 8.0
NUM_CLUSTERS = 20


def prd_of_histograms(
    real: np.ndarray, generated: np.ndarray, *, num_angles: int = 1001
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the PRD curve of two distributions over the same K states.

    precision(l) = sum_k min(l real_k, generated_k),   recall(l) = precision(l) / l,   for slopes
    l = tan(angle), with angles evenly spaced from 0 to pi/2 (Sajjadi et al., Algorithm 1).

    Args:
        real: probabilities of the reference, [K].
        generated: probabilities of what is judged, [K].
        num_angles: number of points on the curve.

    Returns:
        (precision, recall), each [num_angles] in [0, 1].

    Raises:
        ValueError: if these are not two distributions over the same states.
    """
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    if real.ndim != 1 or real.shape != generated.shape:
        raise ValueError(
            f"expected two histograms [K], got shapes {real.shape} and {generated.shape}"
        )
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
    num_clusters: int = NUM_CLUSTERS,
    num_angles: int = 1001,
    num_runs: int = 10,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the PRD curve of two sets of features over clusters of their union.

    scikit-learn's mini-batch k-means finds the clusters; the curve is the mean of several runs.

    Args:
        features_real: features of the reference, [N, d].
        features_generated: features of what is judged, [N, d]. With unequal numbers the clusters
            would be biased towards the larger set.
        num_clusters: K, at most 2 N.
        num_angles: number of points on the curve.
        num_runs: number of clusterings that are averaged.
        seed: seed of the first clustering; each further one adds 1.

    Returns:
        (precision, recall), each [num_angles] in [0, 1].

    Raises:
        ValueError: if the shapes differ, or there are fewer features than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    if features_real.shape != features_generated.shape or features_real.ndim != 2:
        raise ValueError(
            f"expected two sets of features of the same shape [N, d], got {features_real.shape}"
            f" and {features_generated.shape}"
        )
    number = len(features_real)
    if 2 * number < num_clusters:
        raise ValueError(
            f"{num_clusters} clusters need at least {num_clusters} features, got {2 * number}"
        )
    union = np.concatenate([features_real, features_generated]).astype(np.float64)
    curves = []
    for run in range(num_runs):
        clusters = MiniBatchKMeans(num_clusters, n_init=10, random_state=seed + run)
        with one_thread():
            states = clusters.fit_predict(union)
        histograms = (
            np.bincount(own, minlength=num_clusters) / number
            for own in (states[:number], states[number:])
        )
        curves.append(prd_of_histograms(*histograms, num_angles=num_angles))
    precision, recall = np.mean(curves, axis=0)
    return precision, recall


def max_f_beta(precision: np.ndarray, recall: np.ndarray, beta: float) -> float:
    """Returns the largest F_beta on a PRD curve, max (1 + b^2) p r / (b^2 p + r), in [0, 1].

    beta = 8 weights recall and beta = 1/8 precision; Sajjadi et al. summarise a curve by this pair.

    Args:
        precision: precision along the curve, [num_angles].
        recall: recall along the curve, [num_angles].
        beta: a positive number.
    """
    square = beta**2
    below = square * precision + recall
    above = (1.0 + square) * precision * recall
    return float(np.max(np.divide(above, below, out=np.zeros_like(below), where=below > 0.0)))


def evaluate_precision_recall(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Measured:
    """Measures F8 and F1/8 of the PRD curve for each source.

    F8 weights recall and F1/8 precision, both in [0, 1]. RAE's Table 2 gives precision first, so it
    reads F1/8 / F8.
    """
    real = features_of(trained, REAL)
    if 2 * len(real) < NUM_CLUSTERS:
        raise NotApplicable(
            f"{NUM_CLUSTERS} clusters need at least {NUM_CLUSTERS} images, got {2 * len(real)}"
        )

    def pair(source: str) -> tuple[float, float]:
        curve = prd(real, features_of(trained, source))
        return max_f_beta(*curve, BETA), max_f_beta(*curve, 1.0 / BETA)

    measured: Measured = {}
    for source in options.sources:
        found = or_reason(functools.partial(pair, source))
        values = (found, found) if isinstance(found, NotApplicable) else found
        measured |= zip(_pair(trained.config, source), values, strict=True)
    return measured


def _pair(evaluations: ml_collections.ConfigDict, source: str) -> tuple[str, str]:
    begin = feature_spec(evaluations).precision_recall
    return f"{begin}_f8_{source}", f"{begin}_f1_8_{source}"


def _names(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    return tuple(name for source in options.sources for name in _pair(evaluations, source))


OPTIONS = {
    "sources": Option(
        ("prior", "gaussian", "gmm"),
        some_of("source", SOURCES),
        "Sources of the images that are compared with the test images",
    )
}
EVALUATION = Evaluation(
    evaluate_precision_recall,
    tuple(
        Measure(f"{features.precision_recall}_{weight}_SOURCE", digits=3, better="more", split=REAL)
        for features in FEATURES.values()
        for weight in ("f1_8", "f8")
    ),
    OPTIONS,
    summary="precision and recall of generated images' distribution (Sajjadi et al., 2018)",
    source="RAE Table 2",
    names=_names,
    splits=needed_splits,
    uses_generated=True,
    needs_labels=needs_labels,
    check_files=check_files,
)
