"""The picture of a search: what each iteration found, and the best texts of all trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np

from sfvae_jax.data.sequences.kind import Blocks, Curves, Images, Score, SequenceKind
from sfvae_jax.evaluation import style
from sfvae_jax.evaluation.figures import new_figure, save
from sfvae_jax.evaluation.sequences.decoding import language_of
from sfvae_jax.evaluation.sequences.judging import judged, score_of, scorer
from sfvae_jax.evaluation.sequences.search import Trial, best_texts, found_trials
from sfvae_jax.evaluation.trained_model import TrainedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

_NUM_POINTS = 1000  # of a curve
_IMAGE_SIZE = (1000, 260)  # pixels


def draw_search(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws search.png: the scores over the iterations, and beside them the best texts.

    Trials that begin with the target, which leaves nothing to find, are not among the scores.

    Raises:
        NotApplicable: if the examples of the model have no score.
    """
    del results
    trials = found_trials(trained, options)
    best = best_texts(trained, trials)
    language = language_of(trained)
    kind, score = judged(language), score_of(language)
    drawn = searches(trials, _target_score(trained, kind), score)
    figure = new_figure(13, 4.8)
    figure.suptitle(f"{title}: search of the latent space")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    axes = halves[0].subplots()
    draw_scores(axes, drawn, score, options.batch_size)
    left_out = len(trials) - len(drawn)
    if left_out:
        note = f"left out: {left_out} of {len(trials)} trials, which began with the target"
        axes.set_xlabel(f"{axes.get_xlabel()}\n{note}")
    _draw_best(halves[1], kind, best)
    save(figure, folder / "search.png")


def _target_score(trained: TrainedModel, kind: SequenceKind) -> float | None:
    """Returns the score of the text that a search is to find; None if there is none."""
    target = kind.drawing.target if isinstance(kind.drawing, Curves) else ""
    return scorer(trained)(target) if target else None


def searches(trials: Sequence[Trial], target: float | None, score: Score) -> Sequence[Trial]:
    """Returns the trials whose training examples are all worse than the target; if none, all.

    Args:
        trials: the trials.
        target: the score of the text that they are to find; None if there is none.
        score: what is improved.
    """
    if target is None:
        return trials
    least = score.sign * target - 1e-6  # equal expressions may differ by rounding
    found = [trial for trial in trials if not np.any(score.sign * trial.training >= least)]
    return found or trials


def draw_scores(axes: Axes, trials: Sequence[Trial], score: Score, batch_size: int) -> None:
    """Draws the best score so far of every trial, and the median of each of its batches."""
    iterations = np.arange(len(trials[0].scores) // batch_size + 1)
    for number, trial in enumerate(trials):
        batches = trial.scores.reshape(-1, batch_size)
        valid = _any_valid(batches)
        medians = [np.median(batch[np.isfinite(batch)]) for batch in batches[valid]]
        axes.plot(iterations[1:][valid], medians, "x", color=style.GREY)
        color = style.CLASSES[number % len(style.CLASSES)]
        axes.plot(iterations, best_so_far(trial, score, batch_size), ".-", color=color)
    axes.plot([], [], ".-", color=style.BLACK, label="best so far, a line for each trial")
    axes.plot([], [], "x", color=style.GREY, label="median of a batch's valid texts")
    axes.set_xlabel("iteration (0: training examples)")
    axes.set_ylabel(f"{score.name}, {score.better} is better")
    axes.set_xticks(iterations)
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    if score.better == "less" and drawn.min() > 0.0 and drawn.max() > 5.0 * drawn.min():
        axes.set_yscale("log")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


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
            axes.text(0.0, 1.0, "\n".join(texts), va="top", wrap=True, fontsize=style.LABEL)


def draw_curves(axes: Axes, curves: Curves, best: Sequence[tuple[str, float]]) -> None:
    """Draws the curves of the best texts, beside that of the target if there is one."""
    x = np.linspace(-curves.limit, curves.limit, _NUM_POINTS)
    axes.set(xlabel="x", ylabel="y")
    if curves.target:
        target = curves.values(curves.target, x)
        label = f"{curves.target}: the target"
        axes.plot(x, target, color="0.75", linewidth=4, label=label)
        margin = 0.05 * np.ptp(target)
        axes.set_ylim(target.min() - margin, target.max() + margin)
    # The curves may cover one another.
    looks = zip((style.GREEN, style.ORANGE, style.PURPLE), ("-", "--", ":"), strict=True)
    for (text, score), (color, line) in zip(best, looks, strict=False):
        values = curves.values(text, x)
        axes.plot(x, values, line, color=color, linewidth=1.6, label=f"{text}: {score:.2f}")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _draw_images(figure: FigureBase, images: Images, best: Sequence[tuple[str, float]]) -> None:
    """Draws the best texts below one another, for long ones are wide."""
    panels = figure.subplots(max(len(best), 1), 1, squeeze=False)[:, 0]
    for axes in panels:
        axes.set_axis_off()
    for rank, (axes, (text, score)) in enumerate(zip(panels, best, strict=False)):
        axes.imshow(images.image(text, _IMAGE_SIZE))
        axes.set_title(f"{rank + 1}. score {score:.2f}")


def _any_valid(batches: np.ndarray) -> np.ndarray:
    return np.isfinite(batches).any(axis=1)
