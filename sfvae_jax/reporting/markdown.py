"""A summary of runs as Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sfvae_jax.evaluation import pictures
from sfvae_jax.paths import shown

_DOUBT = "†"  # beside what is not to be trusted as it stands
_OTHER_DATA = "‡"  # beside what is published of another data set
_MOST_COLUMNS = 12  # of measures, before they become the rows


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
        rows.append([code(method["method"]), str(method["runs"]), *cells])
    if len(columns) > _MOST_COLUMNS:
        rows = [list(row) for row in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join([*lines, "", _notes(summary)]) + "\n"


def left_out_note(left_out: dict[Path, str]) -> str:
    """A list of the runs that a report could not have, with why; empty where there are none."""
    if not left_out:
        return ""
    lines = [f"- {code(shown(path))}: {prose(reason)}" for path, reason in left_out.items()]
    return "\n".join(["", "Left out:", "", *lines]) + "\n"


def code(text: str) -> str:
    """A text as a code span, in which nothing is markup."""
    text = " ".join(text.split("\n"))
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def prose(text: str) -> str:
    """A text within a sentence: as it is, or a code span where something in it would be markup."""
    return code(text) if _MARKUP.search(text) else text


# What Markdown does not print as it stands; `_` is a letter inside a word alone.
_MARKUP = re.compile(r"[*`<>|\\$#~&^\n]|\]\(|\]\[|\b_|_\b")


def _columns(summary: dict[str, Any]) -> list[tuple[str, str]]:
    columns: dict[str, dict[str, None]] = {}
    for method in summary["methods"]:
        for measure, cells in method["measures"].items():
            columns.setdefault(measure, {}).update(dict.fromkeys(cells))
    return [(m, step) for m, steps in columns.items() for step in sorted(steps, key=int)]


def _notes(summary: dict[str, Any]) -> str:
    papers = summary["published"]
    note = "Mean ± standard deviation over seeds"
    if any(_is_over_trials(method) for method in summary["methods"]):
        note += ", of a single run over the trials of its search"
    if papers:
        note += f"; after the slash {'; '.join(_source(paper, papers) for paper in papers)}"
        note += ", of a search ± over its trials" if _publishes_trials(summary) else ""
    note += "."
    for paper in papers:
        note += _differences(paper, papers)
        note += f" {paper['note']}" if "note" in paper else ""
    caveats = {
        f"{pictures.title(measure)} of {prose(method['method'])}: {prose(caveat)}."
        for method, measure, cell in _cells(summary)
        for caveat in cell.get("caveats", ())
    }
    others = dict.fromkeys(
        cell["published_data"] for _, _, cell in _cells(summary) if "published_data" in cell
    )
    notes = [note, *(f"{_DOUBT} {caveat}" for caveat in sorted(caveats))]
    notes += _incomplete(summary)
    notes += [f"{_OTHER_DATA} Published of other data: {prose(data)}." for data in others]
    return "\n\n".join([*notes, *_texts(summary)])


def _cells(summary: dict[str, Any]) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
    """(method, measure, cell) of every cell."""
    return [
        (method, measure, cell)
        for method in summary["methods"]
        for measure, cells in method["measures"].items()
        for cell in cells.values()
    ]


def _source(paper: dict[str, Any], papers: list[dict[str, Any]]) -> str:
    """A paper and, of several, the methods beside which it stands."""
    runs = f"{paper['num_runs']} run{'s' if paper['num_runs'] > 1 else ''}"
    beside = f" beside {_methods(paper)}" if len(papers) > 1 else ""
    return f"{paper['source']} ({runs}){beside}"


def _methods(paper: dict[str, Any]) -> str:
    return ", ".join(code(method) for method in paper["methods"])


def _differences(paper: dict[str, Any], papers: list[dict[str, Any]]) -> str:
    differences = [
        f"{key} {' and '.join(_value(value) for value in here)} (paper: {_value(there)})"
        for key, (here, there) in paper["differences"].items()
    ]
    if not differences:
        return ""
    runs = "These runs" if len(papers) == 1 else f"The runs of {_methods(paper)}"
    return f" {runs} differ from the paper's: {', '.join(differences)}."


def _value(value: Any) -> str:
    return prose(str(value)) if value != "" else "empty"


def _incomplete(summary: dict[str, Any]) -> list[str]:
    """A sentence for each method of which not all runs have the same measures."""
    notes = []
    for method in summary["methods"]:
        told = [
            f"{pictures.title(measure)}, step {step} ({number} of {method['runs']})"
            for measure, steps in method["incomplete"].items()
            for step, number in steps.items()
        ]
        if told:
            name = code(method["method"])
            notes.append(
                f"Not all runs of {name} have these, which are left out: {', '.join(told)}."
            )
    return notes


def _is_over_trials(method: dict[str, Any]) -> bool:
    cells = (cell for cells in method["measures"].values() for cell in cells.values())
    return method["runs"] == 1 and any(cell["std"] is not None for cell in cells)


def _publishes_trials(summary: dict[str, Any]) -> bool:
    """Whether a published search has deviations: its paper has several trials of one model."""
    return any(
        cell["published"] and cell["published"][1] is not None
        for _, measure, cell in _cells(summary)
        if measure.startswith("search_")
    )


def _texts(summary: dict[str, Any]) -> list[str]:
    """A list of the texts of each method that were measured."""
    lists = []
    for method in summary["methods"]:
        lines = [
            f"- {pictures.title(measure)}: {', '.join(code(text) for text in cell['texts'])}"
            for measure, cells in method["measures"].items()
            for cell in cells.values()
            if "texts" in cell
        ]
        if lines:
            lists.append("\n".join([f"Found by {code(method['method'])}:", "", *lines]))
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
    other = f" {_OTHER_DATA}" if "published_data" in cell else ""
    return f"{obtained} / {published}{elsewhere}{other}"


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
