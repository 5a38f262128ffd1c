"""The evaluation `frechet`: the Frechet distance of generated images from real ones.

In features of the Inception network it is the FID. In those of a classifier that is trained on the
spot it has another name, as it cannot be compared with any published figure.
"""

from __future__ import annotations

import dataclasses
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
from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.features.table import FEATURES
from sfvae_jax.evaluation.generation.sources import SOURCES, mean_log_densities
from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import Option, some_of

_ROWS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and scatter of features that may come in batches, in float64.

    Attributes:
        count: N, the number of features.
        mean: their mean, [d].
        scatter: sum over the features f of (f - mean) (f - mean)', [d, d].
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Returns the moments of one batch [N, d], N >= 1."""
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or not len(features):
            raise ValueError(f"features must be [N, d] and not empty, got shape {features.shape}")
        mean = features.mean(axis=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: Moments) -> Moments:
        """Returns the moments of two batches together (Chan, Golub and LeVeque, 1979)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        between = np.outer(shift, shift) * (self.count * other.count / count)
        return Moments(
            count, self.mean + shift * (other.count / count), self.scatter + other.scatter + between
        )

    def covariance(self) -> np.ndarray:
        """Returns the unbiased estimate, scatter / (N - 1), [d, d]."""
        if self.count < 2:
            raise ValueError("a covariance needs at least two features, got one")
        return self.scatter / (self.count - 1)


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean [d] and unbiased covariance [d, d] of features [N, d], in float64.

    It converts only a few thousand rows at a time to float64.

    Raises:
        ValueError: if there are fewer than two features, or they are not of rank 2.
    """
    starts = range(0, max(len(features), 1), _ROWS_AT_ONCE)
    whole, *rest = (Moments.of(features[i : i + _ROWS_AT_ONCE]) for i in starts)
    for batch in rest:
        whole = whole.merge(batch)
    return whole.mean, whole.covariance()


def frechet_distance(
    mean1: np.ndarray, covariance1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray
) -> float:
    """Computes the squared Frechet distance of two Gaussians (Dowson and Landau, 1982).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared 2-Wasserstein distance. In Inception
    features it is the FID (Heusel et al., 2017). With C = A A', the trace of the root is the sum of
    the singular values of A1' A2. The factors come from symmetric eigendecompositions, without the
    directions that only rounding fills, so that the distance is real and finite even if the
    covariances are singular (N < d).

    Args:
        mean1: m1, [d].
        covariance1: C1, symmetric and positive semi-definite, [d, d].
        mean2: m2, [d].
        covariance2: C2, [d, d].

    Returns:
        The squared distance, 0 or more, in squared units of the features.

    Raises:
        ValueError: if the shapes do not fit each other, or something is not finite.
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
            raise ValueError(f"{name} must have shape {expected}, got shape {found.shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"{name} must be finite")
    root_trace = np.linalg.svd(_factor(covariance1).T @ _factor(covariance2), compute_uv=False)
    total = np.trace(covariance1) + np.trace(covariance2) - 2.0 * np.sum(root_trace)
    return float(np.sum(np.square(mean1 - mean2)) + max(total, 0.0))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """Returns A [d, r] with A A' the covariance and r its numerical rank."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2.0)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def evaluate_frechet(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Measures the squared distance of each source's images from the test images.

    Besides it returns `frechet_num_images`, the number of images of each source and of test images;
    what the features themselves measure, as a classifier its accuracy; and, for a density that
    reports it, the mean log density of held-out codes and how much it exceeds that of training
    codes, in nats per code.
    """
    real = features_of(trained, REAL)
    if len(real) < 2:
        raise NotApplicable("a covariance needs at least two images")
    real_moments = moments(real)

    def distance(source: str) -> float:
        return frechet_distance(*moments(features_of(trained, source)), *real_moments)

    features = feature_spec(trained.config)
    measured: Measured = {
        f"{features.distance}_{source}": or_reason(functools.partial(distance, source))
        for source in options.sources
    }
    measured["frechet_num_images"] = float(len(real))
    measured |= features.measure(trained)
    for name in _reporting(options):
        measured |= _log_densities(trained, name)
    return measured


def _log_densities(trained: TrainedModel, name: str) -> Measured:
    found = or_reason(lambda: mean_log_densities(trained, name))
    if isinstance(found, NotApplicable):
        return dict.fromkeys(_log_density_names(name), found)
    held_out, training = found
    return dict(zip(_log_density_names(name), (held_out, held_out - training), strict=True))


def _reporting(options: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Returns the densities among the sources whose log densities are reported."""
    densities = (source for source in options.sources if source in DENSITIES)
    return tuple(name for name in densities if DENSITIES[name].reports_log_density)


def _log_density_names(density: str) -> tuple[str, str]:
    held_out = f"{density}_held_out_log_density"
    return held_out, f"{held_out}_minus_training"


def _names(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    features = feature_spec(evaluations)
    return (
        *(f"{features.distance}_{source}" for source in options.sources),
        "frechet_num_images",
        *(measure.name for measure in features.measures),
        *(measure for density in _reporting(options) for measure in _log_density_names(density)),
    )


def _log_density_measures(density: str) -> tuple[Measure, Measure]:
    held_out, difference = _log_density_names(density)
    return (
        Measure(held_out, unit="nats", better="more", split="valid"),
        Measure(difference, unit="nats", better="more", split="train and valid"),
    )


OPTIONS = {
    "sources": Option(
        ("reconstructions", "prior", "gaussian", "gmm", "interpolations"),
        some_of("source", SOURCES),
        "Sources of the images whose distance from the test images is measured",
    )
}
EVALUATION = Evaluation(
    evaluate_frechet,
    (
        *(
            Measure(f"{features.distance}_SOURCE", better="less", split=REAL)
            for features in FEATURES.values()
        ),
        Measure("frechet_num_images", split=REAL),
        *(measure for features in FEATURES.values() for measure in features.measures),
        *(
            measure
            for name, density in DENSITIES.items()
            if density.reports_log_density
            for measure in _log_density_measures(name)
        ),
    ),
    OPTIONS,
    summary="Frechet distance of generated images to test images",
    source="RAE Table 1, SFVAE Table 2",
    names=_names,
    splits=needed_splits,
    uses_generated=True,
    needs_labels=needs_labels,
    check_files=check_files,
)
