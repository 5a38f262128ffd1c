"""Summarises runs by method: means over seeds, beside the published figures."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.measures import DEVIATION
from sfvae_jax.reporting.methods import by_method
from sfvae_jax.reporting.published_rows import PublishedRow, published_figures
from sfvae_jax.reporting.runs import by_step, caveats_at
from sfvae_jax.runs.files.config_file import flatten
from sfvae_jax.runs.published import differences

Cells = dict[str, dict[str, dict[str, Any]]]  # by measure and step


def summarize(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Groups runs into methods, and takes means and standard deviations over their seeds.

    Args:
        runs: the contents of results.json, as from `read_run`.

    Returns:
        "methods", a list of {"method", "runs", "seeds", "measures", "incomplete"}, and "published",
        a list of papers.

        "measures" maps a measure and a step to "mean", "std" (for a single run that over its own
        trials, or null), "published" ([mean, std], or null), "published_step" and, only if there
        are any, "published_data" (the paper's data set, if it is not the runs'), "caveats" and
        "texts". "incomplete" maps the measures that some runs lack to the number of runs that have
        them.

        A paper has its "source", "num_runs" and "setting", the "methods" beside which it stands,
        and "differences": config keys with their values in these methods (a list) and in the paper.

    Raises:
        UsageError: if two runs have the same config and seed.
    """
    groups = by_method(runs)
    return {
        "methods": [_summarize_method(label, group) for label, group in groups.items()],
        "published": _papers(groups),
    }


def _papers(groups: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The papers of all methods; equal figures in an equal setting are listed once."""
    papers: list[tuple[dict[str, Any], list[str]]] = []
    for label, group in groups.items():
        for run in group:
            figures = {k: v for k, v in published_figures(run).items() if k != "differences"}
            known = next((labels for other, labels in papers if other == figures), None)
            if known is None and figures:
                papers.append((figures, known := []))
            if known is not None and label not in known:
                known.append(label)
    described = []
    for figures, labels in papers:
        configs = [flatten(run["config"]) for label in labels for run in groups[label]]
        shown = {key: value for key, value in figures.items() if key != "rows"}
        described.append({**shown, "methods": labels, "differences": differences(configs, figures)})
    return described


def _summarize_method(label: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    seeds = sorted(run["config"]["seed"] for run in runs)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"two runs of {label} have the same seed: {seeds}; name each run once")
    measures, incomplete = _cells(runs)
    _add_caveats(measures, runs)
    _add_texts(measures, runs)
    return {
        "method": label,
        "runs": len(runs),
        "seeds": seeds,
        "measures": measures,
        "incomplete": incomplete,
    }


def _cells(runs: list[dict[str, Any]]) -> tuple[Cells, dict[str, dict[str, int]]]:
    """Returns the measures that all runs have, and how many runs have each of the others."""
    row = PublishedRow(runs[0])
    points = [by_step(run) for run in runs]
    steps = sorted({step for point in points for step in point}, key=int)
    measures: Cells = {}
    incomplete: dict[str, dict[str, int]] = {}
    for step in steps:
        for measure in _measured(points, step):
            having = [point for point in points if _has(point.get(step, {}), measure)]
            if len(having) < len(points):
                incomplete.setdefault(measure, {})[step] = len(having)
                continue
            values = [point[step][measure] for point in points]
            published = row.at(measure, step, last=step == steps[-1])
            own = points[0][step].get(measure + DEVIATION)
            measures.setdefault(measure, {})[step] = {
                "mean": mean(values),
                "std": stdev(values) if len(values) > 1 else own,
                "published": [published.mean, published.std] if published else None,
                "published_step": published.step if published else None,
            }
            if published and published.data:
                measures[measure][step]["published_data"] = published.data
    return measures, incomplete


def _add_caveats(measures: Cells, runs: list[dict[str, Any]]) -> None:
    """Adds to each cell the caveats of its runs, each once."""
    for measure, cells in measures.items():
        for step, cell in cells.items():
            caveats = [caveats_at(run, step).get(measure) for run in runs]
            found = list(dict.fromkeys(caveat for caveat in caveats if caveat is not None))
            if found:
                cell["caveats"] = found


def _add_texts(measures: Cells, runs: list[dict[str, Any]]) -> None:
    """Adds the texts that the runs found to the cells of their last step."""
    for run in runs:
        for measure, text in run.get("texts", {}).items():
            cell = measures.get(measure, {}).get(str(run["step"]))
            if cell is not None:
                cell.setdefault("texts", []).append(text)


def _measured(points: list[dict[str, dict[str, Any]]], step: str) -> list[str]:
    """The measures that some run has at a step, without deviations, which stand beside theirs."""
    found = dict.fromkeys(
        measure for point in points for measure in point.get(step, {}) if _has(point[step], measure)
    )
    return [measure for measure in found if not measure.endswith(DEVIATION)]


def _has(metrics: dict[str, Any], measure: str) -> bool:
    """Whether the measure was taken; null stands for one that does not apply to the model."""
    return metrics.get(measure) is not None
