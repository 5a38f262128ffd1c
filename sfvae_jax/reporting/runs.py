"""Finds the finished runs for a report, reads their results.json and checks it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sfvae_jax import plugins
from sfvae_jax.errors import UsageError, in_one_line
from sfvae_jax.paths import local_path, shown
from sfvae_jax.runs.checkpoints.folders import is_step
from sfvae_jax.runs.files import results_file
from sfvae_jax.runs.files.config_file import flatten
from sfvae_jax.runs.files.results_file import is_at_end, is_number, is_whole_number
from sfvae_jax.runs.plugin_files import recorded_plugins
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime.files import read_json

log = logging.getLogger("sfvae_jax")

Run = dict[str, Any]

# The config key that grows when a finished run is evaluated again.
WHAT_IS_MEASURED = "evaluations.names"
# A published row may have, beside a measure's steps, the values of the paper's own runs.
RUNS = "runs"


def find_runs(folders: Sequence[str | os.PathLike]) -> list[Path]:
    """Returns the results.json of every run in or below the folders, each once.

    Links are followed. Folders that cannot be read are named in the log.

    Raises:
        UsageError: if a folder has no run, or is not a usable path.
    """
    found: dict[Path, None] = {}
    for given in folders:
        folder = local_path(given, "RUN")
        results = sorted(_results_below(folder))
        if not results:
            raise UsageError(
                f"{folder} holds no results.json; give the --workdir of a finished run"
            )
        found |= dict.fromkeys(results)
    return list(found)


def read_runs(paths: Sequence[Path]) -> tuple[dict[Path, Run], dict[Path, str]]:
    """Returns the runs that a report can use, and why it leaves out the others.

    Args:
        paths: the results.json of each run, as from `find_runs`.
    """
    runs: dict[Path, Run] = {}
    left_out = {}
    for path in paths:
        try:
            run = read_run(path)
            _import_plugins(run, path)
        except UsageError as error:
            left_out[path] = in_one_line(error)
            continue
        same = next((other for other in runs if _is_same(runs[other], run)), None)
        if same is None:
            runs[path] = run
        else:
            left_out[path] = f"it has the same config and seed as {shown(same)}, which is counted"
    return runs, left_out


def read_run(path: Path) -> Run:
    """Returns the results.json of a finished run.

    Its "step" is `train.steps`, even if the run stopped early and the model of another step was
    measured ("measured_step"), so that the runs of one configuration share a column.

    Raises:
        UsageError: if it is not a results.json, or the run is not finished.
    """
    run = read_json(path)
    if not run.get("metrics") or not {"config", "step"} <= run.keys():
        raise UsageError(f"{path} has no final measures; finish the run with --mode=evaluate")
    check_results(run, path)
    steps = flatten(run["config"])["train.steps"]
    if not is_at_end(run, steps):
        raise UsageError(
            f"{path} holds measures of step {run['step']} of {steps}; let the run end first"
        )
    return {**run, "step": steps, "measured_step": run["step"]}


def by_step(run: Run) -> dict[str, dict[str, Any]]:
    """Returns the measures at every measured step; null stands for one that does not apply."""
    return {**run.get("history", {}), str(run["step"]): run["metrics"]}


def caveats_at(run: Run, step: str) -> dict[str, str]:
    """Returns the caveats of a run's measures at a step, by measure."""
    last = run.get("caveats", {}) if step == str(run["step"]) else {}
    return {**run.get("history_caveats", {}).get(step, {}), **last}


def check_results(run: Run, path: Path) -> None:
    """Checks that a results.json contains what a run writes there.

    Raises:
        UsageError: naming an entry that is damaged.
    """
    _, faults = results_file.readable(run)
    for key, (holds, expected) in _ENTRIES.items():
        if key in run and not holds(run[key]):
            faults.append(f"{key!r} must be {expected}")
    if faults:
        raise UsageError(f"{path} is damaged: {faults[0]}; measure again with --mode=evaluate")


def _import_plugins(run: Run, path: Path) -> None:
    """Imports the plugins of a run, whose evaluations tell how their measures are shown."""
    try:
        plugins.import_plugins(
            recorded_plugins(run["config"], Workdir(path.parent), unchanged=True)
        )
    except UsageError as error:
        log.warning("measures of %s that a plugin describes have no unit: %s", shown(path), error)


def _is_same(one: Run, other: Run) -> bool:
    """Whether two runs have equal configurations, in the keys that both have."""
    if one["config"]["seed"] != other["config"]["seed"]:
        return False
    first, second = flatten(one["config"]), flatten(other["config"])
    keys = (first.keys() & second.keys()) - {WHAT_IS_MEASURED}
    return all(first[key] == second[key] for key in keys)


def _results_below(folder: Path) -> Iterator[Path]:
    """Yields every results.json by its path without links, and enters each folder once."""
    seen = set()
    for place, names, files in os.walk(folder, followlinks=True, onerror=_tell):
        here = os.path.realpath(place)
        if here in seen:
            names.clear()
            continue
        seen.add(here)
        if "results.json" in files:
            yield Path(here, "results.json").resolve()


def _tell(error: OSError) -> None:
    if not isinstance(error, NotADirectoryError):
        log.warning("cannot look for runs in %s: %s", error.filename, error.strerror)


def _is_config(value: Any) -> bool:
    flat = flatten(value) if isinstance(value, dict) else {}
    return (
        isinstance(flat.get("objective.name"), str)
        and isinstance(flat.get("evaluations.names", []), list)
        and is_whole_number(flat.get("train.steps"))
        and is_whole_number(flat.get("seed"))
    )


def _is_published(value: Any) -> bool:
    if value == {}:
        return True
    if not isinstance(value, dict) or not isinstance(value.get("rows", {}), dict):
        return False
    stated = isinstance(value.get("source"), str) and is_whole_number(value.get("num_runs"))
    setting = isinstance(value.get("setting", {}), dict)
    note = isinstance(value.get("note", ""), str)
    return stated and setting and note and all(map(_is_row, value.get("rows", {}).values()))


def _is_row(row: Any) -> bool:
    """{"where": {...}, MEASURE: {STEP or "end": [mean, deviation or null], "runs": [...]}}."""
    if not isinstance(row, dict) or not isinstance(row.get("where", {}), dict):
        return False
    cells = [cell for key, cell in row.items() if key != "where"]
    if not all(isinstance(cell, Mapping) and cell.keys() - {RUNS} for cell in cells):
        return False
    return all(_is_published_at(step, figure) for cell in cells for step, figure in cell.items())


def _is_published_at(step: str, value: Any) -> bool:
    if step == RUNS:
        return isinstance(value, list) and all(map(is_number, value))
    return (step == "end" or is_step(step)) and _is_figure(value)


def _is_figure(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return is_number(value[0]) and (value[1] is None or is_number(value[1]))


# What a report expects of an entry of results.json in addition to what `readable` checks.
_ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "config": (_is_config, "a configuration with seed, objective.name and train.steps"),
    "published": (_is_published, "the config file's published figures"),
}
