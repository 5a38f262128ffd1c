"""The bars of a report: every method and measure, obtained beside published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfvae_jax.evaluation.figures import COLORS, legend_below, new_figure, save
from sfvae_jax.reporting.measures import is_error, title


def draw_report(methods: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws a panel for each measure: bars of every method, obtained (filled) beside published.

    Standard errors are only in the table.
    """
    measured = dict.fromkeys(m for method in methods for m in method["measures"])
    measures = [measure for measure in measured if not is_error(measure)] or list(measured)
    columns = min(len(measures), 6)
    rows = math.ceil(len(measures) / columns)
    figure = new_figure(3.4 * columns + 1, 3.2 * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(measures) :]:
        axes.set_visible(False)
    for axes, measure in zip(panels, measures, strict=False):
        _draw_bars(axes, [(m["method"], m["measures"].get(measure, {})) for m in methods])
        axes.set_title(title(measure), fontsize="medium")
    bars: dict[str, Any] = {}  # from all panels, for not every method has every measure
    for axes in panels:
        bars |= {label: bar for bar, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    legend_below(figure, bars)
    save(figure, path)


def _draw_bars(axes: Any, methods: list[tuple[str, dict[str, Any]]]) -> None:
    steps = sorted({step for _, cells in methods for step in cells}, key=int)
    width = 0.8 / (2 * len(methods))
    for number, (name, cells) in enumerate(methods):
        color = COLORS[number % len(COLORS)]
        for second, kind in enumerate(("obtained", "published")):
            offset = (2 * number + second + 0.5) * width - 0.4
            found = {
                place + offset: _bar(cells[step], kind)
                for place, step in enumerate(steps)
                if step in cells
            }
            bars = [(place, *bar) for place, bar in found.items() if bar is not None]
            if not bars:
                continue
            places, heights, errors = zip(*bars, strict=True)
            face = color if kind == "obtained" else "white"
            style = {"color": face, "edgecolor": color, "label": f"{name}, {_label(kind, cells)}"}
            axes.bar(places, heights, width, yerr=errors, capsize=3, **style)
    axes.set_xticks(range(len(steps)), [_step_label(step, methods) for step in steps])


def _label(kind: str, cells: dict[str, Any]) -> str:
    """The kind of a bar, with the data set if the figures are published for another one."""
    others = {cell["published_data"] for cell in cells.values() if "published_data" in cell}
    of_others = kind == "published" and others
    return f"{kind} for {', '.join(sorted(others))}" if of_others else kind


def _step_label(step: str, methods: list[tuple[str, dict[str, Any]]]) -> str:
    published = {cells[step]["published_step"] for _, cells in methods if step in cells}
    elsewhere = published - {step, None}
    return f"step {step}" + (f"\n(published: {', '.join(sorted(elsewhere))})" if elsewhere else "")


def _bar(cell: dict[str, Any], kind: str) -> tuple[float, float] | None:
    if kind == "obtained":
        return cell["mean"], cell["std"] or math.nan  # a single run has no error bar
    if not cell["published"]:
        return None
    mean, deviation = cell["published"]
    return mean, deviation or math.nan
