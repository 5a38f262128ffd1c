"""Measures of a trained model, by the names that a config lists."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from sfvae_jax.data import SPLITS
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.evaluation.bounds.collapse import OPTIONS as COLLAPSE
from sfvae_jax.evaluation.bounds.collapse import (
    collapse_fraction,
    evaluate_collapse,
    evaluate_kl,
    kl_matrix,
)
from sfvae_jax.evaluation.bounds.importance import importance_log_evidence
from sfvae_jax.evaluation.bounds.marginal_likelihood import METRICS as MARGINAL_LIKELIHOOD_METRICS
from sfvae_jax.evaluation.bounds.marginal_likelihood import OPTIONS as MARGINAL_LIKELIHOOD
from sfvae_jax.evaluation.bounds.marginal_likelihood import evaluate_marginal_likelihood
from sfvae_jax.evaluation.bounds.reconstruction import OPTIONS as RECONSTRUCTION
from sfvae_jax.evaluation.bounds.reconstruction import (
    evaluate_reconstruction,
    reconstructions,
    squared_errors,
)
from sfvae_jax.evaluation.bounds.sampled import (
    IWAE_BOUND,
    LOWER_BOUND,
    evaluate_iwae_bound,
    evaluate_lower_bound,
)
from sfvae_jax.evaluation.generation import inception
from sfvae_jax.evaluation.generation.features import USERS as FEATURE_USERS
from sfvae_jax.evaluation.generation.sample_quality import (
    FRECHET_OPTIONS,
    GENERATED,
    PRECISION_RECALL_OPTIONS,
    evaluate_frechet,
    evaluate_precision_recall,
    frechet_metrics,
    precision_recall_metrics,
)
from sfvae_jax.evaluation.generation.sample_quality import needed_parts as sample_quality_parts
from sfvae_jax.evaluation.inference_gaps import options as gap_options
from sfvae_jax.evaluation.inference_gaps.annealing import (
    AnnealedEstimate,
    annealed_importance_sampling,
)
from sfvae_jax.evaluation.inference_gaps.drawing import draw_inference_gaps
from sfvae_jax.evaluation.inference_gaps.evaluation import evaluate_inference_gaps
from sfvae_jax.evaluation.linearization.bias import METRICS as BIAS_METRICS
from sfvae_jax.evaluation.linearization.bias import OPTIONS as BIAS
from sfvae_jax.evaluation.linearization.bias import draw_bias, evaluate_bias
from sfvae_jax.evaluation.linearization.constant_variance import (
    evaluate_constant_variance_penalty,
    floating_prior_stddev,
)
from sfvae_jax.evaluation.linearization.jacobian_quality import OPTIONS as JACOBIAN_QUALITY
from sfvae_jax.evaluation.linearization.jacobian_quality import check as check_jacobian_quality
from sfvae_jax.evaluation.linearization.jacobian_quality import (
    draw_jacobian_quality,
    equivalent_samples,
    evaluate_jacobian_quality,
)
from sfvae_jax.evaluation.linearization.jacobian_quality import (
    metric_names as jacobian_quality_metrics,
)
from sfvae_jax.evaluation.linearization.optimal_decoder import EVALUATION as OPTIMAL_DECODER
from sfvae_jax.evaluation.linearization.output_covariance import (
    covariance_errors,
    covariance_statistics,
)
from sfvae_jax.evaluation.linearization.stationarity import EVALUATION as STATIONARITY
from sfvae_jax.evaluation.linearization.taylor import TaylorLine, taylor_line
from sfvae_jax.evaluation.pictures.evaluation import OPTIONS as PICTURES
from sfvae_jax.evaluation.pictures.evaluation import draw_gallery, evaluate_pictures
from sfvae_jax.evaluation.pictures.samples import encoded, manifold, prior_samples
from sfvae_jax.evaluation.sequences.bayesian_optimization import METRICS as SEARCH_METRICS
from sfvae_jax.evaluation.sequences.bayesian_optimization import OPTIONS as SEARCH
from sfvae_jax.evaluation.sequences.bayesian_optimization import evaluate_search
from sfvae_jax.evaluation.sequences.decoding import (
    decode_examples,
    decode_texts,
    is_valid,
    sentences,
)
from sfvae_jax.evaluation.sequences.kinds import require_scorer
from sfvae_jax.evaluation.sequences.measures import RECONSTRUCTION_METRICS as SEQUENCE_METRICS
from sfvae_jax.evaluation.sequences.measures import SAMPLE_OPTIONS as SEQUENCE_SAMPLES
from sfvae_jax.evaluation.sequences.measures import (
    evaluate_sequence_reconstruction,
    evaluate_sequence_samples,
    sequence_samples_metrics,
)
from sfvae_jax.evaluation.sequences.pictures import OPTIONS as SEQUENCE_PICTURES
from sfvae_jax.evaluation.sequences.pictures import draw_sequence_gallery
from sfvae_jax.evaluation.sequences.search_drawing import draw_search
from sfvae_jax.evaluation.spec import Evaluation, Measured
from sfvae_jax.evaluation.trained_model import (
    FLOW_SIZES,
    Doubtful,
    NotApplicable,
    OfText,
    TrainedModel,
)
from sfvae_jax.options import COUNT, DRAWN, STEPS, Group, Option, one_of, some_of
from sfvae_jax.options import check as check_rules
from sfvae_jax.runtime.devices import memory_for

EVALUATIONS = {
    "collapse": Evaluation(evaluate_collapse, ("collapse_fraction",), COLLAPSE, of="both"),
    "kl_divergence": Evaluation(evaluate_kl, ("kl_divergence",), of="both"),
    "reconstruction": Evaluation(
        evaluate_reconstruction,
        ("reconstruction_error", "reconstruction_error_at_sample"),
        RECONSTRUCTION,
    ),
    "lower_bound": Evaluation(evaluate_lower_bound, ("lower_bound",), LOWER_BOUND, of="both"),
    "iwae_bound": Evaluation(
        evaluate_iwae_bound,
        ("iwae_bound", "nll_without_constant"),
        IWAE_BOUND,
        of="both",
    ),
    "constant_variance_penalty": Evaluation(
        evaluate_constant_variance_penalty,
        ("constant_variance_gap", "constant_variance_penalty"),
    ),
    "stationarity": STATIONARITY,
    "optimal_decoder": OPTIMAL_DECODER,
    "pictures": Evaluation(
        evaluate_pictures,
        (),
        PICTURES,
        parts=("train",),
        draw=draw_gallery,
    ),
    "marginal_likelihood": Evaluation(
        evaluate_marginal_likelihood,
        MARGINAL_LIKELIHOOD_METRICS,
        MARGINAL_LIKELIHOOD,
        of="both",
    ),
    "jacobian_quality": Evaluation(
        evaluate_jacobian_quality,
        jacobian_quality_metrics,
        JACOBIAN_QUALITY,
        draw=draw_jacobian_quality,
        check=check_jacobian_quality,
    ),
    "bias": Evaluation(evaluate_bias, BIAS_METRICS, BIAS, draw=draw_bias),
    "inference_gaps": Evaluation(
        evaluate_inference_gaps,
        gap_options.metric_names,
        gap_options.OPTIONS,
        parts=lambda options, _: tuple(options.parts),
        draw=draw_inference_gaps,
        check=gap_options.check,
    ),
    "frechet": Evaluation(
        evaluate_frechet,
        frechet_metrics,
        FRECHET_OPTIONS,
        parts=sample_quality_parts,
    ),
    "precision_recall": Evaluation(
        evaluate_precision_recall,
        precision_recall_metrics,
        PRECISION_RECALL_OPTIONS,
        parts=sample_quality_parts,
    ),
    "sequence_samples": Evaluation(
        evaluate_sequence_samples,
        sequence_samples_metrics,
        SEQUENCE_SAMPLES,
        parts=("train",),
        of="sequences",
    ),
    "sequence_reconstruction": Evaluation(
        evaluate_sequence_reconstruction, SEQUENCE_METRICS, of="sequences"
    ),
    "sequence_pictures": Evaluation(
        evaluate_pictures,
        (),
        SEQUENCE_PICTURES,
        parts=lambda options, _: ("train",) if set(options.sources) - {"prior"} else (),
        draw=draw_sequence_gallery,
        of="sequences",
    ),
    "bayesian_optimization": Evaluation(
        evaluate_search,
        SEARCH_METRICS,
        SEARCH,
        parts=("train",),
        draw=draw_search,
        of="sequences",
    ),
}
# Those that may take samples from the densities that `evaluations.generated` says how to fit.
GENERATED_USERS = (*FEATURE_USERS, "pictures", "sequence_samples", "sequence_pictures")
_NAMES = ("collapse", "kl_divergence", "reconstruction", "lower_bound")


def option_group() -> Group:
    """The group `evaluations` of a configuration, with a group for each evaluation."""
    return {
        "names": Option(_NAMES, some_of("evaluation", EVALUATIONS), "what is measured or drawn"),
        "steps": Option((), STEPS, "at which it is measured besides the end"),
        "part": Option("test", one_of("split", SPLITS), "that is measured"),
        "batch_size": Option(500, COUNT, "examples that are measured at once"),
        **{name: entry.options for name, entry in EVALUATIONS.items()},
        "generated": GENERATED,  # images, whichever evaluation asks for them
        "num_pictured": Option(10, DRAWN, "images in figures/reconstructions.png"),
    }


class Measures(NamedTuple):
    """What was measured, by the names of results.json's entries.

    Attributes:
        metrics: all measures, None where one does not apply to this model.
        not_applicable: for each of those the reason.
        caveats: why single ones are not to be trusted as they stand.
        texts: that single ones are of.
    """

    metrics: dict[str, float | None]
    not_applicable: dict[str, str]
    caveats: dict[str, str]
    texts: dict[str, str]


def measure(trained: TrainedModel) -> Measures:
    """All measures that its `evaluations` group names.

    Raises:
        RunError: if one of them is not finite or needs too much memory, naming it.
        UsageError: if one of them needs another kind of examples.
    """
    check_kind(trained.config, trained.language is not None)
    measured: Measured = {}
    for name in trained.config.names:
        try:
            with memory_for(f"evaluations.{name}", "lower its numbers or evaluations.batch_size"):
                measured |= EVALUATIONS[name].function(trained, trained.config[name])
        except NotApplicable as reason:
            measured |= dict.fromkeys(metric_names(trained.config, name), reason)
    reasons = {name: str(v) for name, v in measured.items() if isinstance(v, NotApplicable)}
    caveats = {name: v.caveat for name, v in measured.items() if isinstance(v, Doubtful)}
    texts = {name: v.text for name, v in measured.items() if isinstance(v, OfText)}
    metrics = {name: None if name in reasons else float(v) for name, v in measured.items()}
    broken = [k for k, value in metrics.items() if value is not None and not math.isfinite(value)]
    if broken:
        raise RunError(f"not finite at this checkpoint: {', '.join(broken)}; the model diverged")
    return Measures(metrics, reasons, caveats, texts)


def metric_names(config: ml_collections.ConfigDict, name: str) -> tuple[str, ...]:
    """The names of an evaluation's measures under an `evaluations` group."""
    metrics = EVALUATIONS[name].metrics
    return metrics(config[name], config) if callable(metrics) else metrics


def check_options(config: ml_collections.ConfigDict) -> None:
    """Refuses what no evaluation could run with, and files that are missing.

    Whether an evaluation is named makes no difference to its options. A file is looked for only
    where a named evaluation reads it.

    Args:
        config: the group `evaluations`.

    Raises:
        UsageError: naming the key.
    """
    check_rules(option_group(), config, "evaluations.")
    for name, entry in EVALUATIONS.items():
        if entry.check is not None:
            _naming(name, lambda check=entry.check, name=name: check(config[name]))
    if needs_features(config) and config.generated.features == "inception":
        inception.check_weights(config.generated.inception_path)


def check_kind(config: ml_collections.ConfigDict, is_sequences: bool) -> None:
    """Refuses evaluations of images for a data set of sequences, and the other way round.

    Args:
        config: the group `evaluations`.
        is_sequences: whether the data set's examples are sequences.

    Raises:
        UsageError: naming the first, and those that there are.
    """
    kind = "sequences" if is_sequences else "images"
    known = [name for name, entry in EVALUATIONS.items() if entry.of in (kind, "both")]
    for name in config.names:
        if name not in known:
            raise UsageError(
                f"evaluations.names: {name!r} is of {EVALUATIONS[name].of}, the data set holds"
                f" {kind}; take some of {', '.join(known)}"
            )


def needs_features(config: ml_collections.ConfigDict) -> bool:
    """Whether a named evaluation compares features of images."""
    return any(name in config.names for name in FEATURE_USERS)


def needs_labels(config: ml_collections.ConfigDict) -> bool:
    """Whether a named evaluation needs labels of the training images."""
    return needs_features(config) and config.generated.features == "classifier"


def _naming(name: str, check: Callable[[], None]) -> None:
    try:
        check()
    except UsageError as error:
        raise UsageError(f"evaluations.{name}.{error}") from error


def needed_parts(config: ml_collections.ConfigDict) -> dict[str, str]:
    """The parts of the data set that an `evaluations` group reads, each with what asks for it."""
    parts = {config.part: "evaluations.part"}
    for name in config.names:
        needed = EVALUATIONS[name].parts
        for part in needed(config[name], config) if callable(needed) else needed:
            own = f"evaluations.{name}.parts" if "parts" in config[name] else f"evaluation {name!r}"
            parts.setdefault(part, own)
    return parts


def draw(
    trained: TrainedModel, name: str, results: Mapping[str, Any], title: str, folder: Path
) -> None:
    """The pictures of an evaluation, if it has some and applies to this model."""
    entry = EVALUATIONS[name]
    if entry.draw is None:
        return
    with contextlib.suppress(NotApplicable):
        entry.draw(trained, trained.config[name], results, title, folder)


__all__ = [
    "EVALUATIONS",
    "FLOW_SIZES",
    "GENERATED",
    "GENERATED_USERS",
    "AnnealedEstimate",
    "Doubtful",
    "Evaluation",
    "NotApplicable",
    "OfText",
    "TaylorLine",
    "TrainedModel",
    "annealed_importance_sampling",
    "check_kind",
    "check_options",
    "collapse_fraction",
    "covariance_errors",
    "covariance_statistics",
    "decode_examples",
    "decode_texts",
    "draw",
    "encoded",
    "equivalent_samples",
    "floating_prior_stddev",
    "importance_log_evidence",
    "is_valid",
    "kl_matrix",
    "manifold",
    "measure",
    "metric_names",
    "needed_parts",
    "needs_labels",
    "option_group",
    "prior_samples",
    "reconstructions",
    "require_scorer",
    "sentences",
    "squared_errors",
    "taylor_line",
]
