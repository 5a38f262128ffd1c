"""A summary of runs as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfvae_jax.paths import shown
from sfvae_jax.reporting import notes
from sfvae_jax.reporting.cells import Cell, table_of
from sfvae_jax.reporting.notes import DOUBT, OTHER_DATA, Markup

_MOST_IN_A_SENTENCE = 4  # settings


def to_markdown(summary: dict[str, Any]) -> str:
    """Returns the summary as a table, and the notes below."""
    texts = [
        notes.heading(summary, _MARKUP),
        *notes.of_papers(summary, _MARKUP),
        *notes.remarks(summary, _MARKUP),
    ]
    return "\n\n".join([methods_table(summary), *texts]) + "\n"


def methods_table(summary: dict[str, Any]) -> str:
    """Returns the table of a summary, each cell as "obtained / published"."""
    table = table_of(summary)
    first, *others = table.heads
    heads = [first, *(others if table.methods_are_rows else map(code, others))]
    rows = [
        [code(name) if table.methods_are_rows else name, *map(cell_text, cells)]
        for name, cells in table.rows
    ]
    return lines_of(heads, rows)


def notes_below(summary: dict[str, Any]) -> list[str]:
    """Returns the paragraphs below the table: what its numbers are, and what its marks mean."""
    return [notes.heading(summary, _MARKUP), *notes.remarks(summary, _MARKUP)]


def papers_notes(summary: dict[str, Any]) -> list[str]:
    """Returns the papers' own notes."""
    return [note for paper in summary["published"] for note in notes.own_note(paper, _MARKUP)]


def settings_that_differ(summary: dict[str, Any]) -> list[str]:
    """Returns how the runs differ from those of the papers; a click opens a long list."""
    return [
        _opened_by_a_click(runs, settings)
        for paper in summary["published"]
        for runs, settings in notes.differences(paper, summary, _MARKUP)
    ]


def _opened_by_a_click(runs: str, settings: list[str]) -> str:
    if len(settings) <= _MOST_IN_A_SENTENCE:
        return notes.in_a_sentence(runs, settings)
    lines = ["<details markdown>", "<summary>Which</summary>", "", *(f"- {s}" for s in settings)]
    return "\n".join([f"{runs} in {len(settings)} settings.", "", *lines, "", "</details>"])


def lines_of(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table of texts that are Markdown already."""
    return "\n".join([_line(heads), "|" + " --- |" * len(heads), *map(_line, rows)])


def cell_text(cell: str | Cell) -> str:
    """Returns a cell as "obtained / published", with its marks."""
    if isinstance(cell, str):
        return cell
    obtained = cell.obtained + (f" {DOUBT}" if cell.is_doubtful else "")
    if not cell.published:
        return obtained
    elsewhere = f" (step {cell.elsewhere})" if cell.elsewhere else ""
    other = f" {OTHER_DATA}" if cell.is_of_other_data else ""
    return f"{obtained} / {cell.published}{elsewhere}{other}"


def left_out_note(left_out: dict[Path, str]) -> str:
    """Returns a list of the runs that were left out and why; empty if there are none."""
    if not left_out:
        return ""
    lines = [f"{code(shown(path))}: {prose(reason)}" for path, reason in left_out.items()]
    return f"\n{_listed('Left out:', lines)}\n"


def code(text: str) -> str:
    """Returns a text as a code span, in which nothing is markup."""
    text = " ".join(text.split("\n"))
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def prose(text: str) -> str:
    """Returns a text for a sentence: as it is, or as a code span if it contains markup."""
    return code(text) if _SIGNS.search(text) else text


# What Markdown does not print as it stands; only inside a word is `_` a letter.
_SIGNS = re.compile(r"[*`<>|\\$#~&^\n]|\]\(|\]\[|\b_|_\b")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _listed(heading: str, lines: list[str]) -> str:
    return "\n".join([heading, "", *(f"- {line}" for line in lines)])


_MARKUP = Markup(code, prose, str, "after the slash", _listed)
