"""All measures of all runs as CSV, not rounded."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sfvae_jax.evaluation import measure_named
from sfvae_jax.evaluation.spec import EVALUATED
from sfvae_jax.reporting.methods import by_method
from sfvae_jax.reporting.published_rows import PublishedRow
from sfvae_jax.reporting.runs import Run, by_step, caveats_at
from sfvae_jax.runs.files.config_file import flatten

COLUMNS = (
    "method",
    "run",
    "seed",
    "measure",
    "step",
    "measured_step",
    "value",
    "reason",
    "caveat",
    "published_mean",
    "published_std",
    "published_step",
    "published_data",
    "part",
)


def to_csv(runs: Mapping[Path, Run]) -> str:
    """Returns a row per run, step and measure, below a row of `COLUMNS`, in the form of RFC 4180.

    `step` is the table's step. `measured_step` is the step of the model that was measured, which
    differs for the last measures of a run that stopped early. `value` is the number as it is in
    results.json; it is empty for a measure that does not apply to the model, and `reason` says why
    if results.json does. `caveat` says why a value cannot be trusted as it stands.
    `published_...` are the figures beside it in the table: mean and standard deviation, the paper's
    step, and its data set if that is not the run's. `part` is the split that was measured; it is
    empty for measures of no split, such as those of random samples.

    Args:
        runs: the contents of each results.json by its path, as from `read_runs`.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    paths = {id(run): path for path, run in runs.items()}
    names = dict(zip(paths, run_names(list(paths.values())), strict=True))
    for method, group in by_method(list(runs.values())).items():
        for run in group:
            for row in _rows(run):
                row |= {"method": method, "run": names[id(run)], "seed": run["config"]["seed"]}
                writer.writerow([row[column] for column in COLUMNS])
    return text.getvalue()


def run_names(paths: Sequence[Path]) -> list[str]:
    """Returns the name of each run's folder, or its path in the shared folder if names are equal.

    Args:
        paths: the results.json of each run.
    """
    names = [path.parent.name for path in paths]
    if len(set(names)) < len(names):
        shared = os.path.commonpath([path.parent for path in paths])
        names = [os.path.relpath(path.parent, shared) for path in paths]
    return names


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    """Yields the rows of a run, step by step."""
    published, evaluated = PublishedRow(run), flatten(run["config"]).get("evaluations.part", "")
    points = by_step(run)
    steps = sorted(points, key=int)
    for step in steps:
        is_last, caveats = step == steps[-1], caveats_at(run, step)
        for measure, value in points[step].items():
            figure = published.at(measure, step, last=is_last)
            is_null = value is None
            yield {
                "measure": measure,
                "step": step,
                "measured_step": run.get("measured_step", step) if is_last else step,
                "value": value,
                "reason": run.get("not_applicable", {}).get(measure) if is_null else None,
                "caveat": caveats.get(measure),
                "published_mean": figure.mean if figure else None,
                "published_std": figure.std if figure else None,
                "published_step": figure.step if figure else None,
                "published_data": figure.data if figure else None,
                "part": _split(measure, evaluated),
            }


def _split(measure: str, evaluated: str) -> str:
    """Returns the split that a measure is taken on; `evaluated` is that of `evaluations.part`."""
    split = measure_named(measure).split
    return evaluated if split == EVALUATED else split
