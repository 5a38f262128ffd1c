"""Measures of a trained model, by the names that a config lists."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.bounds import evaluate_iwae_bound, evaluate_lower_bound
from sfvae_jax.evaluation.codes import NotApplicable, TrainedModel
from sfvae_jax.evaluation.collapse import (
    collapse_fraction,
    evaluate_collapse,
    evaluate_kl,
    kl_matrix,
)
from sfvae_jax.evaluation.information import (
    evaluate_constant_variance_penalty,
    floating_prior_stddev,
)
from sfvae_jax.evaluation.reconstruction import (
    evaluate_reconstruction,
    reconstructions,
    squared_errors,
)
from sfvae_jax.evaluation.samples import latent_plane, manifold, prior_samples

Measured = dict[str, float | NotApplicable]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A function of a trained model and its own group of options.

    Attributes:
        function: gives the measures, single ones of them `NotApplicable`, or raises that.
        metrics: the names of its measures.
        options: the defaults of its group.
    """

    function: Callable[[TrainedModel, ml_collections.ConfigDict], Measured]
    metrics: tuple[str, ...]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
            measured |= dict.fromkeys(entry.metrics, reason)
    reasons = {name: str(v) for name, v in measured.items() if isinstance(v, NotApplicable)}
    metrics = {name: None if name in reasons else value for name, value in measured.items()}
    broken = [k for k, value in metrics.items() if value is not None and not math.isfinite(value)]
    if broken:
        raise RunError(f"not finite at this checkpoint: {', '.join(broken)}; the model diverged")
    return metrics, reasons


__all__ = [
    "EVALUATIONS",
    "Evaluation",
    "NotApplicable",
    "TrainedModel",
    "collapse_fraction",
    "floating_prior_stddev",
    "kl_matrix",
    "latent_plane",
    "manifold",
    "measure",
    "prior_samples",
    "reconstructions",
    "squared_errors",
]
