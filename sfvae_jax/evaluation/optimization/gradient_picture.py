"""The picture of how noisy gradients are over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from sfvae_jax.evaluation import figures, style
from sfvae_jax.evaluation.history import measured_steps
from sfvae_jax.evaluation.optimization.estimators import Estimator, estimators_named
from sfvae_jax.evaluation.optimization.gradient_draws import NETWORKS
from sfvae_jax.evaluation.trained_model import TrainedModel

_PARTS = ("relative_gradient_variance", "gradient_bias")


def draw(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws gradient_noise.png: the relative squared error of each gradient at the measured steps.

    It is the sum of relative variance and relative squared bias; estimators without noise are drawn
    in dashes.
    """
    del trained
    estimators = estimators_named(options.estimators)
    curves = {network: _curves(results, network, estimators) for network in NETWORKS}
    if not any(curves.values()):
        return
    figure = figures.new_figure(10, 4.5)
    figure.suptitle(f"{title}: how noisy gradients are")
    looks = style.looks(estimator.label for estimator in estimators)
    panels = figure.subplots(1, len(NETWORKS), sharey=True)
    for axes, network in zip(panels, NETWORKS, strict=True):
        for estimator in estimators:
            look = looks[estimator.label]
            steps, values, errors = curves[network].get(estimator.name, ((), (), ()))
            axes.errorbar(
                steps,
                values,
                errors,
                color=look.color,
                marker=look.marker,
                markersize=5,
                linestyle="--" if estimator.deterministic else "-",
                label=estimator.label,
            )
        axes.set(xlabel="step", title=network, yscale="log")
    panels[0].set_ylabel("squared error over the squared\nnorm of the ELBO's gradient")
    handles, labels = panels[0].get_legend_handles_labels()
    figures.legend_below(figure, dict(zip(labels, handles, strict=True)))
    figures.save(figure, folder / "gradient_noise.png")


def _curves(
    results: Mapping[str, Any], network: str, estimators: tuple[Estimator, ...]
) -> dict[str, tuple[list[int], list[float], list[float]]]:
    """Returns steps, errors and their standard errors of each estimator, where they are positive.

    The standard error takes variance and bias as independent.
    """
    found: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for step, metrics in measured_steps(results, lambda metrics: True):
        for name in (estimator.name for estimator in estimators):
            keys = [f"{kind}_{network}_{name}" for kind in _PARTS]
            values = [metrics[key] for key in keys if metrics.get(key) is not None]
            if len(values) < len(keys) or sum(values) <= 0.0:
                continue
            errors = (metrics[f"{key}_standard_error"] or 0.0 for key in keys)
            steps, totals, spreads = found.setdefault(name, ([], [], []))
            steps.append(step)
            totals.append(sum(values))
            spreads.append(math.hypot(*errors))
    return found
