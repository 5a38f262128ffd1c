r"""A summary of runs as a LaTeX table, with the rules of the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sfvae_jax.paths import shown
from sfvae_jax.reporting import notes
from sfvae_jax.reporting.cells import Cell, table_of
from sfvae_jax.reporting.notes import Markup


def to_latex(summary: dict[str, Any], runs: Sequence[str], left_out: dict[Path, str]) -> str:
    r"""Returns the summary as a `table` to paste into a paper.

    Its cells are those of the Markdown, but a measure with published figures has two columns,
    "obtained" and "published". Means and deviations are formulas, $1.0 \pm 0.1$; all other texts
    are escaped. Comments at the top name the runs, and those that were left out.

    Args:
        summary: as from `summarize`.
        runs: the names of the runs' folders.
        left_out: why a run was left out, by the path of its results.json.
    """
    below = [*notes.of_papers(summary, _MARKUP), *notes.remarks(summary, _MARKUP)]
    lines = [
        r"% Written by sfvae_jax.report; the preamble needs \usepackage{booktabs}.",
        _comment(f"Runs: {', '.join(runs)}"),
        *(_comment(f"Left out: {shown(path)}: {reason}") for path, reason in left_out.items()),
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_symbols(notes.heading(summary, _MARKUP))}}}",
        *(f"  {line}" for line in _tabular(summary)),
        *(rf"  \par\smallskip{{\footnotesize {_symbols(note)}\par}}" for note in below),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Returns a text, such as a path, in which nothing is a command, a formula or a comment.

    Line breaks become spaces; control characters, and bytes that are not UTF-8, question marks.
    """
    text = "".join(_ESCAPED.get(character, character) for character in _plain(text))
    # `--` would be a dash, and a `[` or `*` an argument of the line break before it.
    return re.sub(r"-(?=-)", "-{}", re.sub(r"^[\[*]", r"{\g<0>}", text))


_ESCAPED = {character: rf"\{character}" for character in "%_&#${}"}
_ESCAPED |= {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # In LaTeX's default fonts these are other signs.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\textasciigrave{}",
}
_SYMBOLS = {"±": r"$\pm$", "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$", "—": "---"}


def _symbols(text: str) -> str:
    return "".join(_SYMBOLS.get(character, character) for character in text)


def _tabular(summary: dict[str, Any]) -> list[str]:
    table = table_of(summary)
    columns = list(zip(*(cells for _, cells in table.rows), strict=True))
    is_double = [any(isinstance(c, Cell) and c.published for c in column) for column in columns]
    first, *heads = table.heads
    lines = [
        rf"\begin{{tabular}}{{l{''.join('rr' if double else 'r' for double in is_double)}}}",
        r"\toprule",
        _row([escape(first), *map(_head, heads, is_double)]),
        *_second_head(is_double),
        r"\midrule",
    ]
    for name, cells in table.rows:
        shown_cells = [_shown(*pair) for pair in zip(cells, is_double, strict=True)]
        lines.append(_row([escape(name), *shown_cells]))
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _head(name: str, is_double: bool) -> str:
    """A measure above its step, over both of its columns if it has two."""
    found = re.fullmatch(r"(.*), (step \d+)", name, re.DOTALL)
    text = rf"\shortstack{{{escape(found[1])} \\ {found[2]}}}" if found else escape(name)
    return rf"\multicolumn{{2}}{{c}}{{{text}}}" if is_double else text


def _second_head(is_double: Sequence[bool]) -> list[str]:
    if not any(is_double):
        return []
    rules, names, place = "", [""], 2
    for double in is_double:
        names.append("obtained & published" if double else "")
        rules += rf"\cmidrule(lr){{{place}-{place + 1}}}" if double else ""
        place += 1 + double
    return [rules, _row(names)]


def _shown(cell: str | Cell, is_double: bool) -> str:
    if isinstance(cell, str):
        return f"{escape(cell)} &" if is_double else escape(cell)
    obtained = _number(cell.obtained) + (r"$^{\dagger}$" if cell.is_doubtful else "")
    if not is_double:
        return obtained
    published = _number(cell.published) + (rf" (step {cell.elsewhere})" if cell.elsewhere else "")
    return f"{obtained} & {published}" + (r"$^{\ddagger}$" if cell.is_of_other_data else "")


def _number(shown_number: str) -> str:
    """A mean ± deviation as a formula; a text without numbers as it is."""
    if not any(map(str.isdigit, shown_number)):
        return _symbols(shown_number)
    return "$" + shown_number.replace("%", r"\%").replace("±", r"\pm") + "$"


def _comment(text: str) -> str:
    return f"% {_plain(text)}"


def _plain(text: str) -> str:
    """The text in one line, without characters that a text file cannot have."""
    text = " ".join(text.encode(errors="replace").decode().split())
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", text)


def _code(text: str) -> str:
    return rf"\texttt{{{escape(text)}}}"


def _listed(heading: str, lines: list[str]) -> str:
    return f"{heading} {'; '.join(lines)}."


_MARKUP = Markup(_code, escape, escape, "published:", _listed)
