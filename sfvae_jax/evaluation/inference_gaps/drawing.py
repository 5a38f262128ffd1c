"""A table and a picture of the inference gaps, and the bounds over training (GAPS Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation import figures, style
from sfvae_jax.evaluation.history import measured_steps
from sfvae_jax.evaluation.inference_gaps.families import FAMILIES
from sfvae_jax.evaluation.inference_gaps.gaps import SplitBounds, log_evidence
from sfvae_jax.evaluation.inference_gaps.latent_plane import draw_posteriors
from sfvae_jax.evaluation.inference_gaps.measured_split import measured_split
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.standard_errors import standard_error
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.runtime.files import write_text

LABELS = {
    "log_evidence": "log p^(x)",
    "ais_bound": "AIS bound",
    "iwae_bound": "IWAE bound",
    **{
        f"optimal_{name}_bound": f"L[q*], {family.label}"
        for name, family in reversed(FAMILIES.items())
    },
    "linearized_full_covariance_bound": "L[q], linearised decoder, full covariance",
    "linearized_diagonal_bound": "L[q], linearised decoder, factorised",
    "lower_bound": "L[q], the encoder's",
    "approximation_gap": "approximation gap",
    "amortization_gap": "amortization gap",
    "inference_gap": "inference gap",
    "linearized_gain": "linearised, full covariance, less the encoder's",
    "linearized_covariance_gain": "linearised, full covariance, less factorised",
}
_CURVES = ("ais_bound", "iwae_bound", "lower_bound")
_COLORS = (style.GREEN, style.PURPLE, style.BLACK)


def draw_inference_gaps(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Writes the table and the pictures of the gaps.

    These are inference_gaps.md and inference_gaps.png; bounds_over_training.png if several steps
    were measured; and posteriors.png if the model has two latents.

    Args:
        trained: the model and its images.
        options: a group with the keys of `options.OPTIONS`.
        results: the contents of results.json.
        title: what the figures' titles begin with.
        folder: where the files are written.
    """
    splits = {split: measured_split(trained, split, options) for split in options.parts}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "inference_gaps.md", table(results, options.parts))
    bounds = {split: measured.bounds for split, measured in splits.items()}
    caveats = results.get("caveats", {})
    doubtful = any(f"ais_bound_{split}" in caveats for split in splits)
    heading = f"{title}: how far below log p(x) each bound is"
    heading += " (AIS has not mixed)" if doubtful else ""
    figures.save(draw_distances(bounds, heading), folder / "inference_gaps.png")
    points = curve(results)
    if len(points) > 1:
        figure = draw_curves(points, options.parts, title, doubtful_steps(results))
        figures.save(figure, folder / "bounds_over_training.png")
    first = splits[options.parts[0]]
    draw_posteriors(trained, first, options.pictured, title, folder / "posteriors.png")


def table(results: Mapping[str, Any], splits: Sequence[str]) -> str:
    """Returns the measures of a results.json as Markdown, a column per split, with their errors."""
    metrics, caveats = results["metrics"], results.get("caveats", {})
    lines = ["| nats | " + " | ".join(splits) + " |", "| --- |" + " --- |" * len(splits)]
    for name, label in LABELS.items():
        if any(f"{name}_{split}" in metrics for split in splits):
            cells = [_cell(metrics, caveats, f"{name}_{split}") for split in splits]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    notes = [
        f"† {caveat}."
        for caveat in dict.fromkeys(caveats.values())
        if any(caveats.get(f"{name}_{split}") == caveat for name in LABELS for split in splits)
    ]
    return "\n".join([*lines, "", "Mean ± standard error over the images.", *notes]) + "\n"


def _cell(metrics: Mapping[str, Any], caveats: Mapping[str, str], name: str) -> str:
    value, error = metrics.get(name), metrics.get(f"{name}_standard_error")
    if value is None:
        return "—"
    shown = f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"
    return f"{shown} †" if name in caveats else shown


def distances(bounds: SplitBounds) -> dict[str, tuple[float, float]]:
    """Returns how far each bound is below log p^(x): the mean difference and its standard error."""
    evidence = log_evidence(bounds)
    columns = {
        **{f"optimal_{family}_bound": values for family, values in bounds.optimal.items()},
        **{f"linearized_{family}_bound": values for family, values in bounds.linearized.items()},
        "lower_bound": bounds.lower,
        "iwae_bound": bounds.iwae,
        "ais_bound": bounds.ais,
    }
    found = {}
    for name in LABELS:
        if columns.get(name) is not None:
            gap = evidence - columns[name]
            error = standard_error(gap)
            error = 0.0 if isinstance(error, NotApplicable) else error
            found[name] = (float(np.mean(gap)), error)
    return found


def draw_distances(splits: Mapping[str, SplitBounds], title: str) -> Any:
    """Returns a figure of each bound's distance from log p^(x), at 0, with two standard errors."""
    shown = {split: distances(bounds) for split, bounds in splits.items()}
    names = [name for name in LABELS if any(name in found for found in shown.values())]
    figure = figures.new_figure(9, 0.45 * len(names) + 1.9)
    figure.suptitle(title)
    axes = figure.subplots()
    for number, (split, found) in enumerate(shown.items()):
        aside = 0.3 * (number - (len(shown) - 1) / 2)
        places = [place + aside for place, name in enumerate(names) if name in found]
        means, errors = zip(*(found[name] for name in names if name in found), strict=True)
        axes.errorbar(
            means,
            places,
            xerr=[2 * error for error in errors],
            fmt="o",
            color=_color(split, number),
            capsize=3,
            label=split,
        )
    axes.axvline(0.0, color=style.BLACK, linewidth=1)
    axes.set_yticks(range(len(names)), [LABELS[name] for name in names])
    axes.invert_yaxis()
    axes.set(xlabel="nats below log p^(x): mean over the images ± 2 standard errors")
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(shown))
    return figure


def _color(split: str, number: int) -> str:
    return style.SPLITS.get(split, style.COLORS[number % len(style.COLORS)])


def curve(results: Mapping[str, Any]) -> list[tuple[int, Mapping[str, float]]]:
    """Returns (step, measures) for every step of a results.json with AIS bounds, in order."""
    return measured_steps(results, lambda m: any(name.startswith("ais_bound") for name in m))


def doubtful_steps(results: Mapping[str, Any]) -> dict[int, set[str]]:
    """Returns the names of the measures of a results.json that carry a caveat, by step."""
    doubts = {int(step): set(names) for step, names in results.get("history_caveats", {}).items()}
    if "step" in results:
        doubts[int(results["step"])] = set(results.get("caveats", {}))
    return doubts


def draw_curves(
    points: Sequence[tuple[int, Mapping[str, float]]],
    splits: Sequence[str],
    title: str,
    doubts: Mapping[int, set[str]],
) -> Any:
    """Returns a figure of AIS, IWAE and ELBO over the steps, doubtful ones crossed (GAPS Fig. 3).

    Args:
        points: the steps and their measures, as `curve` returns them.
        splits: the splits to draw.
        title: what the figure's title begins with.
        doubts: the names of the doubtful measures by step, as `doubtful_steps` returns them.
    """
    figure = figures.new_figure(8, 4.8)
    figure.suptitle(f"{title}: bounds of log p(x) over training")
    axes = figure.subplots()
    styles = dict(zip(splits, ("-", "--", ":"), strict=False))
    for split in splits:
        for name, color in zip(_CURVES, _COLORS, strict=True):
            values: list[Any] = [metrics.get(f"{name}_{split}") for _, metrics in points]
            if None not in values:
                label = f"{LABELS[name]}, {split}"
                line: dict[str, Any] = {"color": color, "linestyle": styles[split], "label": label}
                axes.plot([step for step, _ in points], values, marker=".", **line)
                crossed = [
                    (step, value)
                    for (step, _), value in zip(points, values, strict=True)
                    if f"{name}_{split}" in doubts.get(step, ())
                ]
                if crossed:
                    axes.plot(*zip(*crossed, strict=True), "x", color=color, markersize=9)
    axes.set(xlabel="step (crossed: AIS has not mixed)" if any(doubts.values()) else "step")
    axes.set(ylabel="nats per image, higher is better")
    if points[0][0] > 0 and points[-1][0] >= 20 * points[0][0]:
        axes.set_xscale("log")
    axes.legend()
    return figure
