"""The picture of a report's table: points with intervals, obtained above published."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sfvae_jax.evaluation import style
from sfvae_jax.evaluation.figures import legend_below, new_figure, save
from sfvae_jax.reporting.measures import better, is_error, is_percentage, title, unit
from sfvae_jax.reporting.methods import by_method
from sfvae_jax.reporting.runs import Run, by_step

_COLUMNS = 4  # most panels in a row
_LABEL = 36  # most characters in a line of a method's name
_PANEL, _ROW, _LINE = 2.7, 0.46, 0.19  # inches: a panel's width, a row's height, a line of text
_APART = 0.12  # inches between single runs, their mean and what is published
_PUBLISHED: dict[str, Any] = {"marker": "D", "markerfacecolor": "white", "markersize": 6}
_MOST = 50.0  # a scale is logarithmic if its values are further apart than by this factor


class Row(NamedTuple):
    """A method at a step, or the heading above the methods at this step.

    Attributes:
        label: what stands beside the row.
        step: the step, as a text.
        method: the method, an entry of `summarize`; None: the row is a heading.
    """

    label: str
    step: str
    method: Mapping[str, Any] | None = None


def draw_report(methods: Sequence[Mapping[str, Any]], runs: Sequence[Run], path: Path) -> None:
    """Draws a panel for each measure, with a row for each method at each step that is shown.

    These are its last step and those that have published figures; `report_curves.png` shows all. A
    filled point is a mean, its interval the standard deviation, and small dots are single runs. A
    diamond is published. Standard errors are only in the table.

    Args:
        methods: the "methods" of `summarize`.
        runs: the runs that it summarizes.
        path: where the picture is written.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    measured = dict.fromkeys(m for method in methods for m in method["measures"])
    measures = [measure for measure in measured if not is_error(measure)] or list(measured)
    rows = rows_of(methods)
    measures = [measure for measure in measures if any(_cell(row, measure) for row in rows)]
    of_seeds = {name: [by_step(run) for run in group] for name, group in by_method(runs).items()}
    look = style.looks(method["method"] for method in methods)
    columns = min(len(measures), _COLUMNS)
    heights = [_height(row) for row in rows]
    lines = math.ceil(len(measures) / columns)
    beside = 0.1 * max(len(line) for row in rows for line in row.label.splitlines())
    figure = new_figure(_PANEL * columns + beside, (sum(heights) + 1.0) * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes in panels.ravel()[len(measures) :]:
        axes.set_visible(False)
    places = _places(heights)
    kinds: dict[str, dict[str, Any]] = {}
    for axes, measure in zip(panels.ravel(), measures, strict=False):
        kinds |= _draw_panel(axes, measure, rows, places, of_seeds, look)
        _set_rows(axes, rows, places, sum(heights))
    for axes in panels[:, 1:].ravel():
        axes.tick_params(labelleft=False)
    legend_below(figure, _handles(kinds))
    save(figure, path)


def rows_of(methods: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Returns the rows from the top: below a heading for each step, the methods shown there."""
    shown: dict[str, list[Mapping[str, Any]]] = {}
    for method in methods:
        cells = [cells for cells in method["measures"].values() if cells]
        steps = {step for found in cells for step, cell in found.items() if cell["published"]}
        steps |= {max((step for found in cells for step in found), key=int)} if cells else set()
        for step in steps:
            shown.setdefault(step, []).append(method)
    rows = []
    for step in sorted(shown, key=int):
        rows.append(Row(_heading(step, shown[step]), step))
        names = [method["method"] for method in shown[step]]
        labels = [textwrap.fill(name, _LABEL, break_on_hyphens=False) for name in names]
        rows += [Row(label, step, m) for label, m in zip(labels, shown[step], strict=True)]
    return rows


def _heading(step: str, methods: Sequence[Mapping[str, Any]]) -> str:
    cells = (cells.get(step) for method in methods for cells in method["measures"].values())
    published = {cell["published_step"] for cell in cells if cell}
    elsewhere = sorted(published - {step, None})
    return f"step {step}" + (f"\n(published: {', '.join(elsewhere)})" if elsewhere else "")


def _cell(row: Row, measure: str) -> Mapping[str, Any] | None:
    """Returns the entry of the table for a row and a measure; None if it has none."""
    return row.method and row.method["measures"].get(measure, {}).get(row.step)


def _height(row: Row) -> float:
    return (_ROW if row.method else 0.6 * _ROW) + _LINE * row.label.count("\n")


def _places(heights: Sequence[float]) -> list[float]:
    """Returns the middle of each row, in inches from the top."""
    tops = [sum(heights[:number]) for number in range(len(heights))]
    return [top + height / 2 for top, height in zip(tops, heights, strict=True)]


def _set_rows(axes: Any, rows: Sequence[Row], places: Sequence[float], bottom: float) -> None:
    axes.set_ylim(bottom, 0.0)
    axes.set_yticks(places, [row.label for row in rows])
    axes.tick_params(axis="y", length=0)
    for row, label in zip(rows, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if row.method is None else "normal")


def _draw_panel(
    axes: Any,
    measure: str,
    rows: Sequence[Row],
    places: Sequence[float],
    of_seeds: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]],
    look: Mapping[str, style.Look],
) -> dict[str, dict[str, Any]]:
    """Draws a measure, and returns the kinds of points in it, by their labels."""
    kinds: dict[str, dict[str, Any]] = {}
    drawn: list[float] = []
    for row, place in zip(rows, places, strict=True):
        cell = _cell(row, measure)
        if row.method is None or cell is None:
            continue
        name = row.method["method"]
        own = [steps[row.step][measure] for steps in of_seeds.get(name, ())]
        color, marker, _ = look[name]
        if len(own) > 1:
            kinds["single runs"] = style.SINGLE_RUNS
            axes.plot(own, [place - _APART] * len(own), color=color, **style.SINGLE_RUNS)
            drawn += own
        points = [(cell["mean"], cell["std"], place, {"marker": marker})]
        kinds["obtained" if cell["std"] is None else "mean ± standard deviation"] = {"marker": "o"}
        if cell["published"]:
            points.append((*cell["published"], place + _APART, _PUBLISHED))
            kinds[f"published{_for_data(cell)}"] = _PUBLISHED
        for mean, std, height, kind in points:
            bar = None if std is None else [std]
            options = {"color": color, "capsize": 3, "linestyle": "none", **kind}
            axes.errorbar([mean], [height], xerr=bar, **options)
            drawn += [mean - (std or 0.0), mean + (std or 0.0)]
    _scale(axes, measure, [value for value in drawn if math.isfinite(value)])
    return kinds


def _handles(kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the legend's handles by label; they are grey, as colours stand for methods."""
    from matplotlib.lines import Line2D  # after the first figure

    lines = {"obtained": "none", "single runs": "none"}
    return {
        label: Line2D([], [], **{"color": style.GREY, "linestyle": lines.get(label, "-"), **kind})
        for label, kind in kinds.items()
    }


def _for_data(cell: Mapping[str, Any]) -> str:
    return f" for {cell['published_data']}" if "published_data" in cell else ""


def _scale(axes: Any, measure: str, drawn: Sequence[float]) -> None:
    """Writes a panel's title, unit and numbers; far values need a logarithmic scale."""
    axes.set_title(textwrap.fill(title(measure), 26))
    axes.set_xlabel(", ".join(filter(None, (unit(measure), better(measure)))))
    if drawn and min(drawn) > 0.0 and max(drawn) > _MOST * min(drawn):
        axes.set_xscale("log")
    elif is_percentage(measure):
        style.percent(axes.xaxis)
    axes.margins(x=0.08)
    if axes.get_xscale() != "log":
        axes.locator_params(axis="x", nbins=5)
