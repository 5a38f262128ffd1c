"""Measures of a trained model, by the names that a config lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from sfvae_jax.evaluation.codes import TrainedModel
from sfvae_jax.evaluation.collapse import (
    collapse_fraction,
    evaluate_collapse,
    evaluate_kl,
    kl_matrix,
)
from sfvae_jax.evaluation.reconstruction import (
    evaluate_reconstruction,
    reconstructions,
    squared_errors,
)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A function of a trained model and its own group of options, and that group's defaults."""

    function: Callable[[TrainedModel, ml_collections.ConfigDict], dict[str, float]]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


EVALUATIONS = {
    "collapse": Evaluation(evaluate_collapse, {"epsilon": 0.05, "delta": 0.01}),
    "kl_divergence": Evaluation(evaluate_kl),
    "reconstruction": Evaluation(evaluate_reconstruction, {"num_samples": 1}),
}


def measure(trained: TrainedModel) -> dict[str, float]:
    """All measures that its `evaluations` group names, in one flat dictionary."""
    metrics = {}
    for name in trained.config.names:
        metrics.update(EVALUATIONS[name].function(trained, trained.config[name]))
    return metrics


__all__ = [
    "EVALUATIONS",
    "Evaluation",
    "TrainedModel",
    "collapse_fraction",
    "kl_matrix",
    "measure",
    "reconstructions",
    "squared_errors",
]
