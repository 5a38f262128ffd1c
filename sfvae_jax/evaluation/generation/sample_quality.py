"""The evaluations `frechet` and `precision_recall` (RAE Tables 1 and 2; SFVAE Section 4.2).

With Inception's features the Frechet distance is the FID. With those of a classifier trained here
it has another name, for it compares with no published figure.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from sfvae_jax.evaluation.generation.features import (
    FEATURES,
    REAL,
    classifier_accuracy,
    features_of,
)
from sfvae_jax.evaluation.generation.frechet import frechet_distance, moments
from sfvae_jax.evaluation.generation.precision_recall import BETA, max_f_beta, prd
from sfvae_jax.evaluation.generation.sources import SOURCES, mixture_log_densities
from sfvae_jax.evaluation.trained_model import NotApplicable, TrainedModel
from sfvae_jax.options import COUNT, POSITIVE, SIZES, TEXT, Option, one_of, some_of, whole

Measured = dict[str, float | NotApplicable]

NUM_CLUSTERS = 20

# Of everything that is made of generated images: the group `evaluations.generated`.
GENERATED = {
    "features": Option(
        "inception",
        one_of("features", FEATURES),
        "or classifier: of the data set's own labels, trained on the spot",
    ),
    "inception_path": Option("", TEXT, "of the file that docs/sample_quality.md names"),
    "num_samples": Option(
        10_000, whole(2), "images of every source; fewer where there are fewer real ones"
    ),
    "classifier_steps": Option(1000, COUNT, "of the classifier's training"),
    "gmm_components": Option(10, COUNT, "Gaussians of the mixture"),
    "second_stage_hidden_sizes": Option((256, 256), SIZES, "of its encoder and of its decoder"),
    "second_stage_steps": Option(5000, COUNT, "of its training"),
    "second_stage_batch_size": Option(256, COUNT, "codes of each step"),
    "second_stage_learning_rate": Option(1e-3, POSITIVE, "of its first step"),
}
FRECHET_OPTIONS = {
    "sources": Option(
        ("reconstructions", "prior", "gaussian", "gmm", "interpolations"),
        some_of("source", SOURCES),
        "of the images whose distance from the test images is measured",
    )
}
PRECISION_RECALL_OPTIONS = {
    "sources": Option(
        ("prior", "gaussian", "gmm"),
        some_of("source", SOURCES),
        "of the images that are compared with the test images",
    )
}


def evaluate_frechet(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """The evaluation `frechet`: squared distances of every source's images from the test images.

    Besides, `frechet_num_images`, of each source and of the test; `classifier_accuracy` where the
    features are a classifier's; and with the source `gmm` the mixture's mean log density of
    held-out codes and by how much it exceeds that of training codes, in nats per code.
    """
    real = features_of(trained, REAL)
    if len(real) < 2:
        raise NotApplicable("a covariance needs two images or more")
    real_moments = moments(real)

    def distance(source: str) -> float:
        return frechet_distance(*moments(features_of(trained, source)), *real_moments)

    prefix = _frechet_prefix(trained.config)
    measured = {prefix + source: _or_reason(lambda: distance(source)) for source in options.sources}
    measured["frechet_num_images"] = float(len(real))
    if trained.config.generated.features == "classifier":
        measured["classifier_accuracy"] = _or_reason(lambda: classifier_accuracy(trained))
    if "gmm" in options.sources:
        measured |= _mixture_measures(trained)
    return measured


def frechet_metrics(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """The names of `frechet`'s measures."""
    distances = (_frechet_prefix(evaluations) + source for source in options.sources)
    accuracy = ("classifier_accuracy",) if evaluations.generated.features == "classifier" else ()
    mixture = _MIXTURE_METRICS if "gmm" in options.sources else ()
    return (*distances, "frechet_num_images", *accuracy, *mixture)


def evaluate_precision_recall(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Measured:
    """The evaluation `precision_recall`: F8 and F1/8 of the PRD curve, for every source.

    F8 weighs recall, F1/8 precision, both in [0, 1]. RAE's Table 2 has precision first: it reads
    F1/8 / F8.
    """
    real = features_of(trained, REAL)
    if 2 * len(real) < NUM_CLUSTERS:
        raise NotApplicable(f"{NUM_CLUSTERS} clusters need as many images, got {2 * len(real)}")
    measured: Measured = {}
    for source in options.sources:
        found = _or_reason(
            lambda source=source: prd(real, features_of(trained, source), num_clusters=NUM_CLUSTERS)
        )
        for name, beta in zip(_prd_names(trained.config, source), (BETA, 1.0 / BETA), strict=True):
            missing = isinstance(found, NotApplicable)
            measured[name] = found if missing else max_f_beta(*found, beta)
    return measured


def precision_recall_metrics(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """The names of `precision_recall`'s measures."""
    return tuple(name for source in options.sources for name in _prd_names(evaluations, source))


def needed_parts(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """The parts of the data set that either evaluation reads under these options."""
    sources = set(options.sources)
    fitted = sources & {"optimal_prior", "gaussian", "gmm", "second_stage"}
    held_out = sources & {"reconstructions", "gmm", "interpolations"}
    train = ("train",) if fitted or evaluations.generated.features == "classifier" else ()
    return (*train, *(("valid",) if held_out else ()), "test")


_MIXTURE_METRICS = ("gmm_held_out_log_density", "gmm_held_out_log_density_minus_training")


def _frechet_prefix(evaluations: ml_collections.ConfigDict) -> str:
    inception_features = evaluations.generated.features == "inception"
    return "fid_" if inception_features else "frechet_classifier_distance_"


def _prd_names(evaluations: ml_collections.ConfigDict, source: str) -> tuple[str, str]:
    prefix = "prd_" if evaluations.generated.features == "inception" else "prd_classifier_"
    return f"{prefix}f8_{source}", f"{prefix}f1_8_{source}"


def _mixture_measures(trained: TrainedModel) -> Measured:
    found = _or_reason(lambda: mixture_log_densities(trained))
    if isinstance(found, NotApplicable):
        return dict.fromkeys(_MIXTURE_METRICS, found)
    held_out, training = found
    return dict(zip(_MIXTURE_METRICS, (held_out, held_out - training), strict=True))


def _or_reason(measure: Callable) -> object:
    """What it gives, or why it does not apply."""
    try:
        return measure()
    except NotApplicable as reason:
        return reason
