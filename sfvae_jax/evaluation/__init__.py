"""Measures of a trained model, by the names that a config lists."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.bias import METRICS as BIAS_METRICS
from sfvae_jax.evaluation.bias import draw_bias, evaluate_bias
from sfvae_jax.evaluation.bounds import evaluate_iwae_bound, evaluate_lower_bound
from sfvae_jax.evaluation.codes import NotApplicable, TrainedModel
from sfvae_jax.evaluation.collapse import (
    collapse_fraction,
    evaluate_collapse,
    evaluate_kl,
    kl_matrix,
)
from sfvae_jax.evaluation.gallery import OPTIONS as PICTURES
from sfvae_jax.evaluation.gallery import draw_gallery, evaluate_pictures
from sfvae_jax.evaluation.information import (
    evaluate_constant_variance_penalty,
    floating_prior_stddev,
)
from sfvae_jax.evaluation.jacobian_quality import (
    draw_jacobian_quality,
    equivalent_samples,
    evaluate_jacobian_quality,
)
from sfvae_jax.evaluation.jacobian_quality import metric_names as jacobian_quality_metrics
from sfvae_jax.evaluation.marginal_likelihood import METRICS as MARGINAL_LIKELIHOOD_METRICS
from sfvae_jax.evaluation.marginal_likelihood import (
    evaluate_marginal_likelihood,
    importance_log_evidence,
)
from sfvae_jax.evaluation.output_covariance import covariance_errors, covariance_statistics
from sfvae_jax.evaluation.reconstruction import (
    evaluate_reconstruction,
    reconstructions,
    squared_errors,
)
from sfvae_jax.evaluation.sample_quality import (
    FRECHET_OPTIONS,
    PRECISION_RECALL_OPTIONS,
    evaluate_frechet,
    evaluate_precision_recall,
    frechet_metrics,
    precision_recall_metrics,
)
from sfvae_jax.evaluation.sample_quality import check as check_sample_quality
from sfvae_jax.evaluation.sample_quality import needed_parts as sample_quality_parts
from sfvae_jax.evaluation.samples import latent_plane, manifold, prior_samples

Measured = dict[str, float | NotApplicable]
Draw = Callable[[TrainedModel, ml_collections.ConfigDict, Mapping[str, Any], str, Path], None]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A function of a trained model and its own group of options.

    Attributes:
        function: gives the measures, single ones of them `NotApplicable`, or raises that.
        metrics: the names of its measures, or what tells them from the options.
        options: the defaults of its group.
        parts: of the data set, that it reads besides the images evaluated, or what tells them from
            the options.
        draw: its pictures at the end of a run: of a trained model, its options, the contents of
            results.json, a title and the folder for the figures.
        check: refuses options before anything is trained, by a `UsageError` that begins with the
            option's name.
    """

    function: Callable[[TrainedModel, ml_collections.ConfigDict], Measured]
    metrics: tuple[str, ...] | Callable[[ml_collections.ConfigDict], tuple[str, ...]]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parts: tuple[str, ...] | Callable[[ml_collections.ConfigDict], tuple[str, ...]] = ()
    draw: Draw | None = None
    check: Callable[[ml_collections.ConfigDict], None] | None = None

    def metric_names(self, options: ml_collections.ConfigDict) -> tuple[str, ...]:
        """The names of its measures under these options."""
        return self.metrics(options) if callable(self.metrics) else self.metrics


EVALUATIONS = {
    "collapse": Evaluation(
        evaluate_collapse, ("collapse_fraction",), {"epsilon": 0.05, "delta": 0.01}
    ),
    "kl_divergence": Evaluation(evaluate_kl, ("kl_divergence",)),
    "reconstruction": Evaluation(
        evaluate_reconstruction,
        ("reconstruction_error", "reconstruction_error_at_sample"),
        {"num_samples": 1},
    ),
    "lower_bound": Evaluation(evaluate_lower_bound, ("lower_bound",), {"num_samples": 1}),
    "iwae_bound": Evaluation(
        evaluate_iwae_bound, ("iwae_bound", "nll_without_constant"), {"num_samples": 100}
    ),
    "constant_variance_penalty": Evaluation(
        evaluate_constant_variance_penalty,
        ("constant_variance_gap", "constant_variance_penalty"),
    ),
    "pictures": Evaluation(evaluate_pictures, (), PICTURES, parts=("train",), draw=draw_gallery),
    "marginal_likelihood": Evaluation(
        evaluate_marginal_likelihood,
        MARGINAL_LIKELIHOOD_METRICS,
        {"num_samples": 50_000, "chunk_size": 500, "num_images": 0},
    ),
    "jacobian_quality": Evaluation(
        evaluate_jacobian_quality,
        jacobian_quality_metrics,
        {
            "sample_counts": (5, 10, 25, 50, 70, 100, 235),
            "num_truth": 15_000,
            "num_images": 20,
            "chunk_size": 500,
        },
        draw=draw_jacobian_quality,
    ),
    "bias": Evaluation(evaluate_bias, BIAS_METRICS, {"num_samples": 10}, draw=draw_bias),
    "frechet": Evaluation(
        evaluate_frechet,
        frechet_metrics,
        FRECHET_OPTIONS,
        parts=sample_quality_parts,
        check=check_sample_quality,
    ),
    "precision_recall": Evaluation(
        evaluate_precision_recall,
        precision_recall_metrics,
        PRECISION_RECALL_OPTIONS,
        parts=sample_quality_parts,
        check=check_sample_quality,
    ),
}


def measure(trained: TrainedModel) -> tuple[dict[str, float | None], dict[str, str]]:
    """All measures that its `evaluations` group names.

    Returns:
        (measures, reasons): the measures in one flat dictionary, None where one does not apply to
        this model, and for each of those the reason.

    Raises:
        RunError: if one of them is not finite, naming it.
    """
    measured: Measured = {}
    for name in trained.config.names:
        entry = EVALUATIONS[name]
        try:
            measured |= entry.function(trained, trained.config[name])
        except NotApplicable as reason:
            measured |= dict.fromkeys(entry.metric_names(trained.config[name]), reason)
    reasons = {name: str(v) for name, v in measured.items() if isinstance(v, NotApplicable)}
    metrics = {name: None if name in reasons else value for name, value in measured.items()}
    broken = [k for k, value in metrics.items() if value is not None and not math.isfinite(value)]
    if broken:
        raise RunError(f"not finite at this checkpoint: {', '.join(broken)}; the model diverged")
    return metrics, reasons


def needed_parts(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """The parts of the data set that an `evaluations` group reads."""
    parts = [config.part]
    for name in config.names:
        needed = EVALUATIONS[name].parts
        parts += needed(config[name]) if callable(needed) else needed
    return tuple(dict.fromkeys(parts))


def draw(trained: TrainedModel, results: Mapping[str, Any], title: str, folder: Path) -> None:
    """The pictures of every evaluation that has some and applies to this model."""
    for name in trained.config.names:
        entry = EVALUATIONS[name]
        if entry.draw is None:
            continue
        try:
            entry.draw(trained, trained.config[name], results, title, folder)
        except NotApplicable:
            continue


__all__ = [
    "EVALUATIONS",
    "Evaluation",
    "NotApplicable",
    "TrainedModel",
    "collapse_fraction",
    "covariance_errors",
    "covariance_statistics",
    "draw",
    "equivalent_samples",
    "floating_prior_stddev",
    "importance_log_evidence",
    "kl_matrix",
    "latent_plane",
    "manifold",
    "measure",
    "needed_parts",
    "prior_samples",
    "reconstructions",
    "squared_errors",
]
