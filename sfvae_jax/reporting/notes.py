"""The notes below a report's table: the papers, how the runs differ from theirs, the marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sfvae_jax.evaluation import measure_named
from sfvae_jax.reporting.alike import merged
from sfvae_jax.reporting.cells import all_cells
from sfvae_jax.reporting.measures import title

DOUBT = "†"  # marks what cannot be trusted as it stands
OTHER_DATA = "‡"  # marks what is published for another data set


class Markup(NamedTuple):
    """How a format, such as Markdown, writes the texts of a note.

    Attributes:
        code: writes a name or a path, in which nothing is markup.
        prose: writes a text within a sentence, in which nothing is markup.
        stated: writes a sentence or a source from a config file.
        beside: where the published figures are, such as "after the slash".
        listed: writes a heading and a list of the lines below it.
    """

    code: Callable[[str], str]
    prose: Callable[[str], str]
    stated: Callable[[str], str]
    beside: str
    listed: Callable[[str, list[str]], str]


def heading(summary: dict[str, Any], markup: Markup) -> str:
    """Returns a sentence: what the numbers are, and which papers' figures stand beside them."""
    papers = summary["published"]
    note = "Mean ± standard deviation over seeds"
    if any(_is_over_trials(method) for method in summary["methods"]):
        note += "; for a single run, over the trials of its search"
    if papers:
        sources = "; ".join(_source(paper, papers, markup) for paper in papers)
        stands = any(cell["published"] for _, _, cell in all_cells(summary))
        where = markup.beside if stands else "there is no number for this setting in"
        note += f"; {where} {sources}"
        note += ", where ± of a search is over its trials" if _publishes_trials(summary) else ""
    return f"{note}."


def of_papers(summary: dict[str, Any], markup: Markup) -> list[str]:
    """Returns, for each paper, how the runs differ from its runs, and its own note."""
    notes = []
    for paper in summary["published"]:
        notes += [in_a_sentence(*found) for found in differences(paper, summary, markup)]
        notes += own_note(paper, markup)
    return notes


def differences(
    paper: dict[str, Any], summary: dict[str, Any], markup: Markup
) -> list[tuple[str, list[str]]]:
    """Returns whose runs differ from a paper's, and in which settings; empty if in none."""

    def value(given: Any) -> str:
        return markup.prose(str(given)) if given != "" else "empty"

    settings = [
        f"{markup.stated(key)} {' and '.join(map(value, own))} (paper: {value(expected)})"
        for key, (own, expected) in sorted(paper["differences"].items())
    ]
    one = len(summary["published"]) == 1
    runs = "These runs" if one else f"The runs of {_methods(paper, markup)}"
    return [(f"{runs} differ from the paper's", settings)] if settings else []


def in_a_sentence(runs: str, settings: list[str]) -> str:
    """Returns one entry of `differences` as a sentence."""
    return f"{runs}: {', '.join(settings)}."


def own_note(paper: dict[str, Any], markup: Markup) -> list[str]:
    """Returns the paper's note of its figures; empty if it has none."""
    return [markup.stated(paper["note"])] if paper.get("note") else []


def remarks(summary: dict[str, Any], markup: Markup) -> list[str]:
    """Returns paragraphs: on each mark, on what some runs lack, and on texts that were found."""
    cells = all_cells(summary)
    others = dict.fromkeys(
        cell["published_data"] for _, _, cell in cells if "published_data" in cell
    )
    return [
        *_caveats(summary, markup),
        *_incomplete(summary, markup),
        *(f"{OTHER_DATA} Published for other data: {markup.prose(data)}." for data in others),
        *_texts(summary, markup),
    ]


def _caveats(summary: dict[str, Any], markup: Markup) -> list[str]:
    """A sentence for each doubt, with all measures and methods that have it."""
    of_measures: dict[str, list[tuple[str, str]]] = {}
    for method, measure, cell in all_cells(summary):
        doubts = [(method["method"], caveat) for caveat in cell.get("caveats", ())]
        of_measures.setdefault(title(measure), []).extend(doubts)
    measures: dict[tuple[str, str], list[str]] = {}
    for measure, doubts in sorted(of_measures.items()):
        for methods, caveat in merged(doubts):
            named = ", ".join(map(markup.prose, methods))
            measures.setdefault((named, markup.prose(caveat)), []).append(measure)
    return [
        f"{DOUBT} {', '.join(names)} of {methods}: {caveat}."
        for (methods, caveat), names in measures.items()
    ]


def _source(paper: dict[str, Any], papers: list[dict[str, Any]], markup: Markup) -> str:
    """A paper and, if there are several, the methods beside which its figures stand."""
    runs = f"{paper['num_runs']} run{'s' if paper['num_runs'] > 1 else ''}"
    beside = f" beside {_methods(paper, markup)}" if len(papers) > 1 else ""
    return f"{markup.stated(paper['source'])} ({runs}){beside}"


def _methods(paper: dict[str, Any], markup: Markup) -> str:
    return ", ".join(markup.code(method) for method in paper["methods"])


def _incomplete(summary: dict[str, Any], markup: Markup) -> list[str]:
    """A sentence for each method whose runs do not all have the same measures."""
    notes = []
    for method in summary["methods"]:
        lacking = [
            f"{title(measure)}, step {step} ({having} of {method['runs']})"
            for measure, steps in method["incomplete"].items()
            for step, having in steps.items()
        ]
        if lacking:
            name = markup.code(method["method"])
            notes.append(
                f"Measures that some runs of {name} lack are left out: {', '.join(lacking)}."
            )
    return notes


def _is_over_trials(method: dict[str, Any]) -> bool:
    cells = (cell for cells in method["measures"].values() for cell in cells.values())
    return method["runs"] == 1 and any(cell["std"] is not None for cell in cells)


def _publishes_trials(summary: dict[str, Any]) -> bool:
    """Whether a published search has deviations, which are over several trials of one model."""
    return any(
        cell["published"] and cell["published"][1] is not None
        for _, measure, cell in all_cells(summary)
        if measure_named(measure).is_over_trials
    )


def _texts(summary: dict[str, Any], markup: Markup) -> list[str]:
    """A list of the measured texts of each method."""
    lists = []
    for method in summary["methods"]:
        lines = [
            f"{title(measure)}: {', '.join(markup.code(text) for text in cell['texts'])}"
            for measure, cells in method["measures"].items()
            for cell in cells.values()
            if "texts" in cell
        ]
        if lines:
            lists.append(markup.listed(f"Found by {markup.code(method['method'])}:", lines))
    return lists
