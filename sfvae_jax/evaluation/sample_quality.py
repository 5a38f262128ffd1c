"""The evaluations `frechet` and `precision_recall` (RAE Tables 1 and 2; SFVAE Section 4.2).

With Inception's features the Frechet distance is the FID. With those of a classifier trained here
it has another name, for it compares with no published figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ml_collections

from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.evaluation import inception
from sfvae_jax.evaluation.codes import NotApplicable, TrainedModel
from sfvae_jax.evaluation.frechet import frechet_distance, moments
from sfvae_jax.evaluation.generation import SOURCES, mixture_log_densities
from sfvae_jax.evaluation.precision_recall import BETA, max_f_beta, prd
from sfvae_jax.evaluation.sample_features import (
    FEATURES,
    REAL,
    classifier_accuracy,
    features_of,
)

Measured = dict[str, float | NotApplicable]

NUM_CLUSTERS = 20

# Of everything that is made of generated images: the group `evaluations.generated`.
GENERATED = {
    "features": "inception",  # or classifier: of the data set's own labels, trained on the spot
    "inception_path": "",  # of the file that docs/sample_quality.md names
    "num_samples": 10_000,  # images of every source; fewer where there are fewer real ones
    "classifier_steps": 1000,
    "gmm_components": 10,
    "second_stage_hidden_sizes": (256, 256),
    "second_stage_steps": 5000,
    "second_stage_batch_size": 256,
    "second_stage_learning_rate": 1e-3,
}
FRECHET_OPTIONS = {"sources": ("reconstructions", "prior", "gaussian", "gmm", "interpolations")}
PRECISION_RECALL_OPTIONS = {"sources": ("prior", "gaussian", "gmm")}


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


def check_sources(options: ml_collections.ConfigDict, known: Sequence[str] = SOURCES) -> None:
    """Refuses sources of images that there are not.

    Raises:
        UsageError: beginning with the option's name.
    """
    for source in options.sources:
        if source not in known:
            raise UsageError(f"sources: {unknown_name('source', source, known)}")
    if not options.sources or len(set(options.sources)) < len(options.sources):
        raise UsageError(f"sources must be some of {', '.join(known)}, none of them twice")


def check_generated(options: ml_collections.ConfigDict, *, features: bool) -> None:
    """Refuses options of the group `evaluations.generated`, before anything is trained.

    Args:
        options: the group.
        features: whether they will be needed: then Inception's file must be there.

    Raises:
        UsageError: beginning with the option's name.
    """
    if options.features not in FEATURES:
        raise UsageError(f"features: {unknown_name('features', options.features, FEATURES)}")
    for name in _WHOLE:
        if options[name] < 1:
            raise UsageError(f"{name} must be a positive whole number, got {options[name]}")
    if options.num_samples < 2:
        raise UsageError(f"num_samples must be 2 or more, got {options.num_samples}")
    if not 0.0 < options.second_stage_learning_rate < float("inf"):
        rate = options.second_stage_learning_rate
        raise UsageError(f"second_stage_learning_rate must be positive and finite, got {rate}")
    sizes = options.second_stage_hidden_sizes
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UsageError(f"second_stage_hidden_sizes must be positive sizes, got {sizes}")
    if features and options.features == "inception":
        inception.check_weights(options.inception_path)


_WHOLE = ("classifier_steps", "gmm_components", "second_stage_steps", "second_stage_batch_size")
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
