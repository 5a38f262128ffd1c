"""Runs grouped into methods, obtained beside published, over their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from sfvae_jax.errors import UsageError
from sfvae_jax.published import differences, other_data
from sfvae_jax.reporting.runs import WHAT_IS_MEASURED
from sfvae_jax.training.settings import flatten

_SEED_KEYS = ("seed",)
_FINGERPRINT = "data.fingerprint"
_DEVIATION = "_deviation"  # what the measure of a measure's deviation over trials ends with


def summarize(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Groups runs into methods and takes mean and standard deviation over their seeds.

    Args:
        runs: contents of results.json, as from `read_run`.

    Returns:
        "methods", a list of {"method", "runs", "seeds", "measures", "incomplete"}, where "measures"
        maps a measure and a step to its "mean", "std" (of one run that over its own trials, or
        null), "published" [mean, std] (null where the paper has none), "published_step" and, where
        there are some, "published_data" (the paper's data set, where the runs' is another),
        "caveats" and "texts" that were measured, and "incomplete" maps those that not all runs have
        to the number of runs that have them; and "published", a list of the papers: of each its
        "source", "num_runs" and "setting", the "methods" beside which it stands, and "differences",
        config keys with the values of these (a list) and the paper's.

    Raises:
        UsageError: if two runs have the same config and seed.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    varying = _varying_keys([flatten(run["config"]) for run in runs])
    for run in runs:
        groups.setdefault(_label(flatten(run["config"]), varying), []).append(run)
    return {
        "methods": [_summarize_method(label, group) for label, group in groups.items()],
        "published": _papers(groups),
    }


def _papers(groups: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What is published of each method: the same figures in the same setting once."""
    papers: list[tuple[dict[str, Any], list[str]]] = []
    for label, group in groups.items():
        for run in group:
            figures = {k: v for k, v in _figures(run).items() if k != "differences"}
            known = next((labels for other, labels in papers if other == figures), None)
            if known is None and figures:
                papers.append((figures, known := []))
            if known is not None and label not in known:
                known.append(label)
    told = []
    for figures, labels in papers:
        configs = [flatten(run["config"]) for label in labels for run in groups[label]]
        shown = {key: value for key, value in figures.items() if key != "rows"}
        told.append({**shown, "methods": labels, "differences": differences(configs, figures)})
    return told


def _figures(run: dict[str, Any]) -> dict[str, Any]:
    return run.get("published") or {}


def _summarize_method(label: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    config = flatten(runs[0]["config"])
    seeds = sorted(run["config"]["seed"] for run in runs)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"two runs of {label} have the same seed; name each run once: {seeds}")
    figures = _figures(runs[0])
    rows, data = _published_row(figures, config), other_data(config, figures)
    points = [{**run.get("history", {}), str(run["step"]): run["metrics"]} for run in runs]
    steps = sorted({step for point in points for step in point}, key=int)
    measures: dict[str, dict[str, Any]] = {}
    incomplete: dict[str, dict[str, int]] = {}
    for step in steps:
        for measure in _measured(points, step):
            having = [point for point in points if _has(point.get(step, {}), measure)]
            if len(having) < len(points):
                incomplete.setdefault(measure, {})[step] = len(having)
                continue
            values = [point[step][measure] for point in points]
            published = _published_at(rows.get(measure, {}), step, last=step == steps[-1])
            own = points[0][step].get(measure + _DEVIATION)
            measures.setdefault(measure, {})[step] = {
                "mean": mean(values),
                "std": stdev(values) if len(values) > 1 else own,
                **published,
            }
            if data is not None and published["published"]:
                measures[measure][step]["published_data"] = data
    for step in steps:
        for measure, caveat in dict.fromkeys(c for run in runs for c in _caveats(run, step)):
            cell = measures.get(measure, {}).get(step)
            if cell is not None:
                cell.setdefault("caveats", []).append(caveat)
    for run in runs:
        for measure, text in run.get("texts", {}).items():
            cell = measures.get(measure, {}).get(str(run["step"]))
            if cell is not None:
                cell.setdefault("texts", []).append(text)
    return {
        "method": label,
        "runs": len(runs),
        "seeds": seeds,
        "measures": measures,
        "incomplete": incomplete,
    }


def _measured(points: list[dict[str, dict[str, Any]]], step: str) -> list[str]:
    """What some of the runs measured at a step; a deviation stands beside what it is of."""
    found = dict.fromkeys(
        measure for point in points for measure in point.get(step, {}) if _has(point[step], measure)
    )
    return [measure for measure in found if not measure.endswith(_DEVIATION)]


def _caveats(run: dict[str, Any], step: str) -> list[tuple[str, str]]:
    """(measure, what makes it doubtful) of what a run measured at a step."""
    last = run.get("caveats", {}) if step == str(run["step"]) else {}
    return list({**run.get("history_caveats", {}).get(step, {}), **last}.items())


def _has(metrics: dict[str, Any], measure: str) -> bool:
    """Whether the measure was taken; null is one that does not apply to the model."""
    return metrics.get(measure) is not None


def _published_row(published: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The paper's row for a run: the one whose "where" the config meets; without, by objective."""
    for name, row in published.get("rows", {}).items():
        where = flatten(row.get("where", {"objective": {"name": name}}))
        if all(config.get(key) == value for key, value in where.items()):
            return {key: value for key, value in row.items() if key != "where"}
    return {}


def _published_at(row: dict[str, Any], step: str, *, last: bool) -> dict[str, Any]:
    """The paper's figure at this step; at the end of a run, the one at the paper's own end.

    A figure without a step, of the end of its training, has the key "end".
    """
    if step in row:
        return {"published": row[step], "published_step": step}
    if last and row:
        final = "end" if "end" in row else max(row, key=int)
        return {"published": row[final], "published_step": step if final == "end" else final}
    return {"published": None, "published_step": None}


def _varying_keys(configs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """For every objective the keys, but for the seed, in which its runs differ.

    A run that was evaluated once more is no other method.
    """
    keys = sorted(set().union(*configs) - set(_SEED_KEYS) - {"objective.name", WHAT_IS_MEASURED})
    by_objective: dict[str, list[dict[str, Any]]] = {}
    for config in configs:
        by_objective.setdefault(config["objective.name"], []).append(config)
    return {name: _telling(keys, group) for name, group in by_objective.items()}


def _telling(keys: list[str], group: list[dict[str, Any]]) -> list[str]:
    """The keys that some runs have with different values."""
    # A run of an earlier version may not know a key yet.
    varying = [key for key in keys if len({repr(c[key]) for c in group if key in c}) > 1]
    named = [key for key in varying if key != _FINGERPRINT]
    told = len({_values(config, named) for config in group})
    # Other data have another name, most often; else their fingerprint has to tell them apart.
    return named if told == len({_values(config, varying) for config in group}) else varying


def _values(config: dict[str, Any], keys: list[str]) -> tuple[str, ...]:
    return tuple(repr(config.get(key)) for key in keys)


def _label(config: dict[str, Any], varying: dict[str, list[str]]) -> str:
    name = config["objective.name"]
    details = ", ".join(f"{key}={config.get(key)}" for key in varying[name])
    return f"{name} ({details})" if details else name
