"""The table of a report before it is written as Markdown or LaTeX."""

from __future__ import annotations

from typing import Any, NamedTuple

from sfvae_jax.reporting.measures import number, title

_MOST_COLUMNS = 12  # with more columns of measures, the measures become the rows


class Cell(NamedTuple):
    """A method's value of a measure at a step, beside the published one.

    Attributes:
        obtained: mean ± deviation; "—" if it was not measured.
        is_doubtful: whether it has a caveat.
        published: mean ± deviation; "" if the paper has none.
        elsewhere: the paper's step, if it is another one; else "".
        is_of_other_data: whether the published figure is for another data set.
    """

    obtained: str = "—"
    is_doubtful: bool = False
    published: str = ""
    elsewhere: str = ""
    is_of_other_data: bool = False


class Table(NamedTuple):
    """A report's table, by rows.

    Attributes:
        heads: the name of each column, the first one included.
        rows: the name of each row with its cells, each a text or the `Cell` of a measure.
        methods_are_rows: whether the rows are methods; if there are too many measures, the columns
            are.
    """

    heads: list[str]
    rows: list[tuple[str, list[str | Cell]]]
    methods_are_rows: bool


def table_of(summary: dict[str, Any]) -> Table:
    """Returns the table of a summary, as `summarize` returns it."""
    methods, columns = summary["methods"], _columns(summary)
    names = [method["method"] for method in methods]
    measures = ["runs", *(f"{title(measure)}, step {step}" for measure, step in columns)]
    cells: list[list[str | Cell]] = [
        [
            str(method["runs"]),
            *(_cell(m, step, method["measures"].get(m, {}).get(step)) for m, step in columns),
        ]
        for method in methods
    ]
    if len(columns) <= _MOST_COLUMNS:
        return Table(["method", *measures], list(zip(names, cells, strict=True)), True)
    turned = [list(column) for column in zip(*cells, strict=True)]
    return Table(["method", *names], list(zip(measures, turned, strict=True)), False)


def all_cells(summary: dict[str, Any]) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
    """Returns (method, measure, cell) of every cell of a summary."""
    return [
        (method, measure, cell)
        for method in summary["methods"]
        for measure, cells in method["measures"].items()
        for cell in cells.values()
    ]


def _columns(summary: dict[str, Any]) -> list[tuple[str, str]]:
    columns: dict[str, dict[str, None]] = {}
    for method in summary["methods"]:
        for measure, cells in method["measures"].items():
            columns.setdefault(measure, {}).update(dict.fromkeys(cells))
    return [(m, step) for m, steps in columns.items() for step in sorted(steps, key=int)]


def _cell(measure: str, step: str, cell: dict[str, Any] | None) -> Cell:
    if cell is None:
        return Cell()
    obtained = Cell(number(measure, cell["mean"], cell["std"]), bool(cell.get("caveats")))
    if not cell["published"]:
        return obtained
    return obtained._replace(
        published=number(measure, *cell["published"]),
        elsewhere="" if cell["published_step"] == step else cell["published_step"],
        is_of_other_data="published_data" in cell,
    )
