"""The picture of a search: what each iteration found, and the best that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation.sequences.bayesian_optimization import (
    Trial,
    best_texts,
    found_trials,
    score_of_model,
)
from sfvae_jax.evaluation.sequences.expressions import (
    LIMIT,
    NUM_POINTS,
    TARGET,
    evaluate_expression,
)
from sfvae_jax.evaluation.sequences.kinds import Score
from sfvae_jax.evaluation.trained_model import TrainedModel


def draw_search(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """search.png: scores over the iterations; beside it the best equations, or molecules.

    Raises:
        NotApplicable: if the model's examples have no score.
    """
    from sfvae_jax.evaluation import figures

    del results
    trials = found_trials(trained, options)
    best = best_texts(trained, trials)
    figure = figures.new_figure(12, 4.8)
    figure.suptitle(f"{title}: Bayesian optimisation of the latents")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.4))
    draw_scores(left.subplots(), trials, score_of_model(trained), options.batch_size)
    if trained.language.kind == "equations":
        draw_curves(right.subplots(), best)
    else:
        _draw_molecules(right, best)
    figures.save(figure, folder / "search.png")


def draw_scores(axes: Any, trials: Sequence[Trial], score: Score, batch_size: int) -> None:
    """Best score so far of every trial, from its training examples on, and each batch's median."""
    from sfvae_jax.evaluation.figures import COLORS

    for number, trial in enumerate(trials):
        batches = trial.scores.reshape(-1, batch_size)
        color = COLORS[number % len(COLORS)]
        iterations = np.arange(len(batches) + 1)
        axes.plot(iterations, best_so_far(trial, score, batch_size), ".-", color=color)
        medians = [np.median(batch[np.isfinite(batch)]) for batch in batches[_any_valid(batches)]]
        axes.plot(iterations[1:][_any_valid(batches)], medians, "x", color=color)
    axes.plot([], [], ".-", color="gray", label="best so far of a trial")
    axes.plot([], [], "x", color="gray", label="median of its batch's valid ones")
    better = "greater" if score.sign > 0 else "less"
    axes.set(xlabel="iteration (0: training examples)", ylabel=f"{score.name}, {better} is better")
    axes.set_xticks(range(len(trials[0].scores) // batch_size + 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def best_so_far(trial: Trial, score: Score, batch_size: int) -> np.ndarray:
    """Best score of the training examples, and after each batch, [iterations + 1]."""
    batches = [trial.training, *trial.scores.reshape(-1, batch_size)]
    gains = [np.where(np.isfinite(batch), score.sign * batch, -np.inf).max() for batch in batches]
    return score.sign * np.maximum.accumulate(gains)


def draw_curves(axes: Any, best: Sequence[tuple[str, float]]) -> None:
    """The best expressions beside the target that they are scored against."""
    from sfvae_jax.evaluation.figures import COLORS

    x = np.linspace(-LIMIT, LIMIT, NUM_POINTS)
    target = evaluate_expression(TARGET, x)
    axes.plot(x, target, color="0.7", linewidth=3, label=f"{TARGET}: the target")
    styles = zip(COLORS, ("-", "--", ":"), strict=False)  # they may lie on one another
    for (text, score), (color, style) in zip(best, styles, strict=False):
        values = evaluate_expression(text, x)
        axes.plot(x, values, style, color=color, linewidth=1.5, label=f"{text}: {score:.2f}")
    margin = 0.05 * np.ptp(target)
    axes.set(xlabel="x", ylabel="y", ylim=(target.min() - margin, target.max() + margin))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")


def _draw_molecules(figure: Any, best: Sequence[tuple[str, float]]) -> None:
    from sfvae_jax.evaluation.sequences import molecules

    panels = figure.subplots(1, max(len(best), 1), squeeze=False)[0]
    for axes in panels:
        axes.set_axis_off()
    for rank, (axes, (text, score)) in enumerate(zip(panels, best, strict=False)):
        axes.imshow(molecules.molecule_image(text, (400, 500)))
        axes.set_title(f"{rank + 1}.  {score:.2f}")


def _any_valid(batches: np.ndarray) -> np.ndarray:
    return np.isfinite(batches).any(axis=1)
