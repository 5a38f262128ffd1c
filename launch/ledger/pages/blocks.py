"""The generated text of one table: what its records say, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch.ledger.pages.account import Account
from launch.ledger.pages.equal_times import tables_after_seconds
from launch.ledger.pages.over_steps import tables_over_steps
from launch.ledger.pages.plots import pictures_of
from launch.ledger.pages.provenance import how_made
from launch.ledger.record import Record
from launch.ledger.table import Table
from launch.ledger.views import (
    END,
    EqualTimes,
    Grid,
    Measures,
    Pictures,
    Steps,
    chosen_by,
    heading_of,
)
from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.cells import Cell, table_of
from sfvae_jax.reporting.markdown import (
    cell_text,
    code,
    lines_of,
    methods_table,
    notes_below,
    papers_notes,
    settings_that_differ,
)
from sfvae_jax.reporting.measures import number
from sfvae_jax.reporting.published_rows import published_figures
from sfvae_jax.reporting.summary import summarize
from sfvae_jax.runs.files.config_file import flatten


def block(table: Table, account: Account) -> str:
    """Returns the Markdown of a table with runs, including its heading."""
    by_setting = account.by_setting()
    pictures = pictures_of(table, by_setting)
    pieces = [f"## {table.title}"]
    for setting, records in by_setting.items():
        summary = summarize(records)
        pieces += [_setting(setting), *settings_that_differ(summary)]
        pieces += [*_views(table, records), *papers_notes(summary)]
        if setting in pictures:
            pieces.append(f"![{table.title}](figures/{pictures[setting].name})")
    pieces += [how_made(table, account), *_files(table), *filter(None, [table.obstacle])]
    return "\n\n".join(pieces) + "\n"


def front(table: Table, account: Account) -> str:
    """Returns the rows of README's table: methods with records, then the paper's other ones."""
    records = account.by_setting().get("", [])
    if not records:
        return "No record yet.\n"
    shown = table_of(_summary(records, table.front))
    rows = [[code(name), *map(cell_text, cells)] for name, cells in shown.rows]
    missing = []
    trained = {record["config"]["objective"]["name"] for record in records}
    for name, row in published_figures(records[0])["rows"].items():
        if name not in trained:
            figures = [row.get(measure, {}).get(step) for measure, step in table.front]
            cells = [
                Cell(published=number(measure, *figure) if figure else "")
                for (measure, _), figure in zip(table.front, figures, strict=True)
            ]
            rows.append([code(name), "0", *map(cell_text, cells)])
            missing.append(code(name))
    note = f"\nNo run of {' and '.join(missing)} has been recorded yet.\n" if missing else ""
    return lines_of(shown.heads, rows) + "\n" + note


def line(table: Table) -> str:
    """Returns a list item for a table without runs."""
    return f"- **{table.title}.** {table.obstacle}"


def overview(papers: Mapping[str, Sequence[Table]], accounts: Mapping[str, Account]) -> str:
    """Returns how many runs have records: in all, and in a table of all tables."""
    rows = ["| table or figure | runs with a record | runs |", "| --- | --- | --- |"]
    counts = []
    for paper, tables in papers.items():
        for table in (table for table in tables if table.parts):
            recorded, filed = len(accounts[table.name].records), len(accounts[table.name].filed)
            link = f"[{table.title}]({paper}.md#{anchor(table.title)})"
            rows.append(f"| {link} | {recorded} | {filed} |")
            counts.append((recorded, filed))
    records = sum(recorded for recorded, _ in counts)
    runs = sum(filed for _, filed in counts)
    begun = sum(recorded > 0 for recorded, _ in counts)
    total = f"{records} of {runs} runs have a record, in {begun} of {len(counts)} tables"
    return "\n".join([f"{total} and figures.", "", *rows]) + "\n"


def anchor(heading: str) -> str:
    """Returns the anchor that GitHub makes for a heading."""
    kept = (letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return "".join(kept).replace(" ", "-")


def _setting(setting: str) -> str:
    return f"Smaller than the paper's: {setting}." if setting else "As large as the paper's."


def _views(table: Table, records: Sequence[Record]) -> list[str]:
    texts = [text for view in table.views(Measures) for text in _measures(view, records)]
    over_steps, grids = table.views(Steps), table.views(Grid)
    texts += tables_over_steps(over_steps, records) if over_steps else []
    texts += tables_after_seconds(table.views(EqualTimes), records)
    texts += [text for view in grids for text in _grid(view, records)]
    shown = tuple(dict.fromkeys((view.measure, END) for view in grids))
    return [*texts, *notes_below(_summary(records, shown))] if grids else texts


def _files(table: Table) -> list[str]:
    files = [file for view in table.views(Pictures) for file in view.files]
    named = ", ".join(f"`{file}`" for file in files)
    return [f"Each run draws pictures into its folder `figures/`: {named}."] if files else []


def _measures(view: Measures, records: Sequence[Record]) -> list[str]:
    """Returns a table of methods, below the keys that its runs were chosen by."""
    records = chosen_by(view.where, records)
    if not records:
        return []
    summary = _summary(records, view.columns)
    texts = [methods_table(summary), *notes_below(summary)]
    return [f"{heading_of(view.where)}:", *texts] if view.where else texts


def _summary(records: Sequence[Record], columns: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Summarises records: all measures and steps, or the chosen ones."""
    summary = summarize(records)
    for method in summary["methods"] if columns else ():
        kinds = {kind: method[kind] for kind in ("measures", "incomplete")}
        steps = {step for cells in kinds.values() for by_step in cells.values() for step in by_step}
        end = max(steps, key=int, default=END)
        method |= {kind: _chosen(cells, columns, end) for kind, cells in kinds.items()}
    return summary


def _chosen(
    by_measure: Mapping[str, Mapping[str, Any]], columns: Sequence[tuple[str, str]], end: str
) -> dict[str, dict[str, Any]]:
    """Returns the cells of some measures and steps; `end` is the last step of a method."""
    chosen: dict[str, dict[str, Any]] = {}
    for measure, step in columns:
        cells = by_measure.get(measure, {})
        at = end if step == END else step
        if at in cells:
            chosen.setdefault(measure, {})[at] = cells[at]
    return chosen


def _grid(view: Grid, records: Sequence[Record]) -> list[str]:
    """Returns a heading and a table of one measure over two keys; nothing if it has no record."""
    cells: dict[tuple[Any, Any], list[Record]] = {}
    for record in chosen_by(view.where, records):
        config = flatten(record["config"])
        cells.setdefault((config[view.down], config[view.across]), []).append(record)
    if not cells:
        return []
    downs = sorted({down for down, _ in cells})
    acrosses = list(dict.fromkeys(across for _, across in cells))
    heads = [code(view.down), *(code(str(across)) for across in acrosses)]
    rows = [
        [str(down), *(_cell(view.measure, cells.get((down, across), [])) for across in acrosses)]
        for down in downs
    ]
    chosen = "".join(f", {value}" for _, value in view.where)
    heading = f"{code(view.measure)}{chosen}: obtained / published (number of seeds)."
    return [heading, lines_of(heads, rows)]


def _cell(measure: str, records: Sequence[Record]) -> str:
    """Returns the measure of one method at the end, and from how many runs it is."""
    if not records:
        return "—"
    summary = _summary(records, [(measure, END)])
    methods = [method["method"] for method in summary["methods"]]
    if len(methods) > 1:
        raise UsageError(
            f"{records[0]['table']}: a cell of the grid of {measure} has runs of several methods,"
            f" {', '.join(methods)}; choose one of them by the grid's where"
        )
    ((_, (_, *cells)),) = table_of(summary).rows
    return f"{cell_text(cells[0])} ({len(records)})" if cells else "—"
