"""Measures of a trained model, by the names that a config lists."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from sfvae_jax.errors import RunError
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
    """All measures that its `evaluations` group names, in one flat dictionary.

    Raises:
        RunError: if one of them is not finite, naming it.
    """
    metrics = {}
    for name in trained.config.names:
        metrics.update(EVALUATIONS[name].function(trained, trained.config[name]))
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise RunError(f"not finite at this checkpoint: {', '.join(broken)}; the model diverged")
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
