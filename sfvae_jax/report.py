"""Tables runs: obtained beside published, one row a method.

  python -m sfvae_jax.report RUN [RUN ...] [--output=DIR]

RUN is the workdir of a finished run, or a folder with such workdirs below it. Runs that differ
in their seed alone are one method: its mean and standard deviation over the seeds. Prints
Markdown, and writes it with report.json and report.png into DIR (default: the folder that the
runs share).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from absl import app, flags

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import pictures
from sfvae_jax.files import read_json, write_json, write_text
from sfvae_jax.training.settings import flatten

_OUTPUT = flags.DEFINE_string("output", None, "Folder for report.md, report.json and report.png.")

_SEED_KEYS = ("seed",)
_DOUBT = "†"  # beside what is not to be trusted as it stands
_DEVIATION = "_deviation"  # what the measure of a measure's deviation over trials ends with
_MOST_COLUMNS = 12  # of measures, before they become the rows


def find_runs(folders: Sequence[str | os.PathLike]) -> list[Path]:
    """The results.json of every run that the folders are or hold.

    Raises:
        UsageError: if a folder has none.
    """
    found = []
    for folder in (Path(folder).expanduser().resolve() for folder in folders):
        results = sorted(folder.rglob("results.json"))
        if not results:
            raise UsageError(
                f"{folder} holds no results.json; give the --workdir of a finished run"
            )
        found += [path for path in results if path not in found]
    return found


def read_run(path: Path) -> dict[str, Any]:
    """The results.json of a finished run.

    Raises:
        UsageError: if it is not one, or the run is not at its end.
    """
    run = read_json(path)
    if not run.get("metrics") or not {"config", "step"} <= run.keys():
        raise UsageError(f"{path} has no final measures; finish the run with --mode=evaluate")
    if run["step"] != run["config"]["train"]["steps"]:
        steps = run["config"]["train"]["steps"]
        raise UsageError(f"{path} is of step {run['step']} of {steps}; let the run end first")
    return run


def summarize(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Groups runs into methods and takes mean and standard deviation over their seeds.

    Args:
        runs: contents of results.json, as from `read_run`.

    Returns:
        "methods", a list of {"method", "runs", "seeds", "measures"}, where "measures" maps a
        measure and a step to its "mean", "std" (of one run that over its own trials, or null),
        "published" [mean, std] (null where the paper has none), "published_step" and, where there
        are some, "caveats" and "texts" that were measured; "published", the paper's source and
        setting; and "differences", config keys with the values here (a list) and the paper's.

    Raises:
        UsageError: if two runs are of the same config and seed.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    varying = _varying_keys([flatten(run["config"]) for run in runs])
    for run in runs:
        groups.setdefault(_label(flatten(run["config"]), varying), []).append(run)
    published = runs[0].get("published") or {}
    return {
        "methods": [_summarize_method(label, group) for label, group in groups.items()],
        "published": {key: published[key] for key in published if key != "rows"},
        "differences": _differences([flatten(run["config"]) for run in runs], published),
    }


def to_markdown(summary: dict[str, Any]) -> str:
    """The summary as a table; every cell is "obtained / published", each mean ± deviation.

    The methods are its rows, or its columns where there are too many measures for that.
    """
    columns = _columns(summary)
    rows = [["method", "runs", *(f"{pictures.title(m)}, step {step}" for m, step in columns)]]
    for method in summary["methods"]:
        cells = [
            _cell(measure, step, method["measures"].get(measure, {}).get(step))
            for measure, step in columns
        ]
        rows.append([f"`{method['method']}`", str(method["runs"]), *cells])
    if len(columns) > _MOST_COLUMNS:
        rows = [list(row) for row in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join([*lines, "", _notes(summary)]) + "\n"


def write_report(paths: Sequence[Path], output: Path) -> str:
    """Writes report.md, report.json and report.png of runs; returns the Markdown.

    Args:
        paths: the results.json of each, as from `find_runs`.
        output: the folder to write into.

    Raises:
        UsageError: if one is not of a finished run, or two are of the same config and seed.
        OSError: if the folder cannot be written.
    """
    summary = summarize([read_run(path) for path in paths])
    text = to_markdown(summary)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "report.md", text)
    write_json(output / "report.json", summary)
    pictures.draw_report(summary["methods"], output / "report.png")
    return text


def main(argv: list[str]) -> None:
    """Prints and writes the report of the runs named on the command line."""
    try:
        if len(argv) < 2:
            raise UsageError("name at least one run: python -m sfvae_jax.report RUN [RUN ...]")
        paths = find_runs(argv[1:])
        output = Path(_OUTPUT.value or os.path.commonpath([path.parent for path in paths]))
        text = write_report(paths, output)
    except UsageError as error:
        print(f"sfvae_jax: error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except OSError as error:
        print(f"sfvae_jax: error: cannot write the report: {error}", file=sys.stderr)
        sys.exit(2)
    print(text)
    print(f"written to {output}: report.md, report.json, report.png", file=sys.stderr)


def _summarize_method(label: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    config = flatten(runs[0]["config"])
    seeds = sorted(run["config"]["seed"] for run in runs)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"two runs of {label} have the same seed; name each run once: {seeds}")
    rows = _published_row(runs[0].get("published") or {}, config)
    points = [{**run.get("history", {}), str(run["step"]): run["metrics"]} for run in runs]
    steps = sorted(set.intersection(*(set(point) for point in points)), key=int)
    measures: dict[str, dict[str, Any]] = {}
    for step in steps:
        measured = [m for m in runs[0]["metrics"] if all(_has(p[step], m) for p in points)]
        for measure in measured:
            if measure.endswith(_DEVIATION):
                continue  # it stands beside what it is the deviation of
            values = [point[step][measure] for point in points]
            published = _published_at(rows.get(measure, {}), step, last=step == steps[-1])
            own = points[0][step].get(measure + _DEVIATION)
            measures.setdefault(measure, {})[step] = {
                "mean": mean(values),
                "std": stdev(values) if len(values) > 1 else own,
                **published,
            }
    for step in steps:
        for measure, caveat in dict.fromkeys(c for run in runs for c in _caveats(run, step)):
            if measure in measures:
                measures[measure][step].setdefault("caveats", []).append(caveat)
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
    }


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
    """For every objective the keys, but for the seed, in which its runs differ."""
    keys = sorted(set().union(*configs) - set(_SEED_KEYS) - {"objective.name"})
    by_objective: dict[str, list[dict[str, Any]]] = {}
    for config in configs:
        by_objective.setdefault(config["objective.name"], []).append(config)
    return {
        # A run of an earlier version may not know a key yet.
        name: [key for key in keys if len({repr(c[key]) for c in group if key in c}) > 1]
        for name, group in by_objective.items()
    }


def _label(config: dict[str, Any], varying: dict[str, list[str]]) -> str:
    name = config["objective.name"]
    details = ", ".join(f"{key}={config.get(key)}" for key in varying[name])
    return f"{name} ({details})" if details else name


def _differences(configs: list[dict[str, Any]], published: dict[str, Any]) -> dict[str, list[Any]]:
    """Settings that are not the paper's, but for those that its rows tell apart."""
    rows = published.get("rows", {}).values()
    of_rows = {key for row in rows for key in flatten(row.get("where", {}))}
    differences = {}
    for key, value in flatten(published.get("setting", {})).items():
        if key in of_rows:
            continue
        here: list[Any] = []
        for config in configs:
            if config.get(key) not in here:
                here.append(config.get(key))
        if here != [value]:
            differences[key] = [here, value]
    return differences


def _columns(summary: dict[str, Any]) -> list[tuple[str, str]]:
    columns: dict[str, dict[str, None]] = {}
    for method in summary["methods"]:
        for measure, cells in method["measures"].items():
            columns.setdefault(measure, {}).update(dict.fromkeys(cells))
    return [(m, step) for m, steps in columns.items() for step in sorted(steps, key=int)]


def _notes(summary: dict[str, Any]) -> str:
    published = summary["published"]
    note = "Mean ± standard deviation over seeds"
    if any(_is_over_trials(method) for method in summary["methods"]):
        note += ", of a single run over the trials of its search"
    if not published:
        return f"{note}."
    runs = f"{published['num_runs']} run{'s' if published['num_runs'] > 1 else ''}"
    note += f"; after the slash {published['source']} ({runs})"
    note += ", of a search ± over its trials." if _publishes_trials(summary) else "."
    differences = [
        f"{key} {' and '.join(map(str, here))} (paper: {paper})"
        for key, (here, paper) in summary["differences"].items()
    ]
    if differences:
        note += f" These runs differ from the paper's: {', '.join(differences)}."
    if "note" in published:
        note += f" {published['note']}"
    caveats = {
        f"{pictures.title(measure)} of {method['method']}: {caveat}."
        for method in summary["methods"]
        for measure, cells in method["measures"].items()
        for cell in cells.values()
        for caveat in cell.get("caveats", ())
    }
    notes = [note, *(f"{_DOUBT} {caveat}" for caveat in sorted(caveats))]
    return "\n\n".join([*notes, *_texts(summary)])


def _is_over_trials(method: dict[str, Any]) -> bool:
    cells = (cell for cells in method["measures"].values() for cell in cells.values())
    return method["runs"] == 1 and any(cell["std"] is not None for cell in cells)


def _publishes_trials(summary: dict[str, Any]) -> bool:
    """Whether a published search has deviations: its paper has several trials of one model."""
    return any(
        cell["published"] and cell["published"][1] is not None
        for method in summary["methods"]
        for measure, cells in method["measures"].items()
        if measure.startswith("search_")
        for cell in cells.values()
    )


def _texts(summary: dict[str, Any]) -> list[str]:
    """A list of the texts of each method that were measured."""
    lists = []
    for method in summary["methods"]:
        lines = [
            f"- {pictures.title(measure)}: {', '.join(f'`{text}`' for text in cell['texts'])}"
            for measure, cells in method["measures"].items()
            for cell in cells.values()
            if "texts" in cell
        ]
        if lines:
            lists.append("\n".join([f"Found by `{method['method']}`:", "", *lines]))
    return lists


def _cell(measure: str, step: str, cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "—"
    obtained = _number(measure, cell["mean"], cell["std"])
    obtained += f" {_DOUBT}" if cell.get("caveats") else ""
    if not cell["published"]:
        return obtained
    published = _number(measure, *cell["published"])
    elsewhere = "" if cell["published_step"] == step else f" (step {cell['published_step']})"
    return f"{obtained} / {published}{elsewhere}"


# Measures that lie between 0 and 1, or near 1, and small errors.
_OF_ONE = ("classifier_accuracy", "prd_", "variance_", "valid_", "unique_", "novel_")
_OF_ONE += ("exact_match", "token_accuracy", "value_error")
# Bounds of one part of the data, whose differences matter.
_OF_PARTS = ("_train", "_valid", "_test", "_standard_error", "_overfitting")


def _number(measure: str, value: float, deviation: float | None) -> str:
    if measure.endswith("_fraction"):
        shown = f"{100 * value:.1f}%"
        return shown if deviation is None else f"{shown} ± {100 * deviation:.1f}%"
    of_parts = measure.endswith(_OF_PARTS) or measure.startswith("simulated_")
    two = of_parts or measure.startswith("search_")
    digits = 3 if measure.startswith(_OF_ONE) else 2 if two else 1
    shown = f"{value:.{digits}f}"
    return shown if deviation is None else f"{shown} ± {deviation:.{digits}f}"


if __name__ == "__main__":
    app.run(main)
