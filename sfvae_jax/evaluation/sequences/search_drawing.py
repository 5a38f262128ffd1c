"""The picture of a search: what each iteration found, and the best texts of all trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np

from sfvae_jax.data.sequences.kind import Blocks, Curves, Images, Score, SequenceKind
from sfvae_jax.evaluation.figures import COLORS, new_figure, save
from sfvae_jax.evaluation.sequences.decoding import language_of
from sfvae_jax.evaluation.sequences.judging import judged, score_of
from sfvae_jax.evaluation.sequences.search import Trial, best_texts, found_trials
from sfvae_jax.evaluation.trained_model import TrainedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

_NUM_POINTS = 1000  # of a curve
_IMAGE_SIZE = (400, 500)  # pixels


def draw_search(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws search.png: the scores over the iterations, and beside them the best texts.

    Raises:
        NotApplicable: if the examples of the model have no score.
    """
    del results
    trials = found_trials(trained, options)
    best = best_texts(trained, trials)
    figure = new_figure(12, 4.8)
    figure.suptitle(f"{title}: Bayesian optimisation of the latents")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1, 1.4))
    language = language_of(trained)
    draw_scores(halves[0].subplots(), trials, score_of(language), options.batch_size)
    _draw_best(halves[1], judged(language), best)
    save(figure, folder / "search.png")


def draw_scores(axes: Axes, trials: Sequence[Trial], score: Score, batch_size: int) -> None:
    """Draws the best score so far of every trial, and the median of each of its batches."""
    for number, trial in enumerate(trials):
        batches = trial.scores.reshape(-1, batch_size)
        color = COLORS[number % len(COLORS)]
        iterations = np.arange(len(batches) + 1)
        axes.plot(iterations, best_so_far(trial, score, batch_size), ".-", color=color)
        medians = [np.median(batch[np.isfinite(batch)]) for batch in batches[_any_valid(batches)]]
        axes.plot(iterations[1:][_any_valid(batches)], medians, "x", color=color)
    axes.plot([], [], ".-", color="gray", label="best so far of a trial")
    axes.plot([], [], "x", color="gray", label="median of its batch's valid ones")
    better = "greater" if score.better == "more" else "less"
    axes.set(xlabel="iteration (0: training examples)", ylabel=f"{score.name}, {better} is better")
    axes.set_xticks(range(len(trials[0].scores) // batch_size + 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def best_so_far(trial: Trial, score: Score, batch_size: int) -> np.ndarray:
    """Returns the best score among the training examples and after each batch, [iterations + 1]."""
    batches = [trial.training, *trial.scores.reshape(-1, batch_size)]
    gains = [np.where(np.isfinite(batch), score.sign * batch, -np.inf).max() for batch in batches]
    return score.sign * np.maximum.accumulate(gains)


def _draw_best(figure: FigureBase, kind: SequenceKind, best: Sequence[tuple[str, float]]) -> None:
    """Draws the best texts with their scores, as their kind says."""
    match kind.drawing:
        case Curves() as curves:
            draw_curves(figure.subplots(), curves, best)
        case Images() as images:
            _draw_images(figure, images, best)
        case Blocks() | None:
            axes = figure.subplots()
            axes.set_axis_off()
            texts = [f"{rank}.  {score:.2f}  {text}" for rank, (text, score) in enumerate(best, 1)]
            axes.text(0.0, 1.0, "\n".join(texts), va="top", wrap=True)


def draw_curves(axes: Axes, curves: Curves, best: Sequence[tuple[str, float]]) -> None:
    """Draws the curves of the best texts, beside that of the target if there is one."""
    x = np.linspace(-curves.limit, curves.limit, _NUM_POINTS)
    axes.set(xlabel="x", ylabel="y")
    if curves.target:
        target = curves.values(curves.target, x)
        label = f"{curves.target}: the target"
        axes.plot(x, target, color="0.7", linewidth=3, label=label)
        margin = 0.05 * np.ptp(target)
        axes.set_ylim(target.min() - margin, target.max() + margin)
    styles = zip(COLORS, ("-", "--", ":"), strict=False)  # the curves may cover one another
    for (text, score), (color, style) in zip(best, styles, strict=False):
        values = curves.values(text, x)
        axes.plot(x, values, style, color=color, linewidth=1.5, label=f"{text}: {score:.2f}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")


def _draw_images(figure: FigureBase, images: Images, best: Sequence[tuple[str, float]]) -> None:
    panels = figure.subplots(1, max(len(best), 1), squeeze=False)[0]
    for axes in panels:
        axes.set_axis_off()
    for rank, (axes, (text, score)) in enumerate(zip(panels, best, strict=False)):
        axes.imshow(images.image(text, _IMAGE_SIZE))
        axes.set_title(f"{rank + 1}.  {score:.2f}")


def _any_valid(batches: np.ndarray) -> np.ndarray:
    return np.isfinite(batches).any(axis=1)
