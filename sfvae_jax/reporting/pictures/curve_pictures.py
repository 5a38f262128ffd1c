"""Pictures of curves: means over seeds as lines, ranges as bands, and published figures."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sfvae_jax.evaluation.figures import COLORS, legend_below, new_figure, save


class Curve(NamedTuple):
    """A line in a picture.

    Attributes:
        label: its label in the legend, such as the method.
        points: the values over seeds at each x, of which the mean and the range are drawn. If one
            of them is not finite, the line has a gap there.
    """

    label: str
    points: Mapping[float, Sequence[float]]


class PublishedCurve(NamedTuple):
    """Published figures beside a curve.

    Attributes:
        label: the label of the curve whose colour they take.
        points: (mean, standard deviation or None) at each x; an x of None is a level across the
            whole picture.
        note: what the legend calls them.
    """

    label: str
    points: Mapping[float | None, tuple[float, float | None]]
    note: str = "published"


class Panel(NamedTuple):
    """One pair of axes with its curves.

    Attributes:
        curves: the lines, at least one.
        x_name: the label of the x axis, with its unit.
        y_name: the label of the y axis, with its unit.
        log_x: whether the x axis is logarithmic.
        published: the published figures.
    """

    curves: Sequence[Curve]
    x_name: str
    y_name: str
    log_x: bool = False
    published: Sequence[PublishedCurve] = ()


def draw_curves(
    curves: Sequence[Curve],
    path: Path,
    *,
    x_name: str,
    y_name: str,
    log_x: bool = False,
    published: Sequence[PublishedCurve] = (),
    metadata: Mapping[str, str | None] | None = None,
) -> None:
    """Draws one panel of curves as a PNG, which is written whole or not at all.

    Args:
        curves: the lines.
        path: where the file is written.
        x_name: the label of the x axis, with its unit.
        y_name: the label of the y axis, with its unit.
        log_x: whether the x axis is logarithmic.
        published: the published figures.
        metadata: texts that are stored in the PNG, by their keywords.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    draw_panels([Panel(curves, x_name, y_name, log_x, published)], path, metadata=metadata)


def draw_panels(
    panels: Sequence[Panel], path: Path, *, metadata: Mapping[str, str | None] | None = None
) -> None:
    """Draws several panels with one legend as a PNG; a method looks the same in all of them.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    columns = min(len(panels), 4)
    rows = math.ceil(len(panels) / columns)
    width, height = (6.4, 4.0) if len(panels) == 1 else (4.2 * columns, 3.2 * rows)
    figure = new_figure(width, height + 0.4)
    styles = _styles(panels)
    handles: dict[str, Any] = {}
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid, panels, strict=False):
        handles |= _draw_panel(axes, panel, styles)
    legend_below(figure, handles)
    save(figure, path, metadata)


def _styles(panels: Sequence[Panel]) -> dict[str, dict[str, Any]]:
    """The colour of each label; labels that share one have different kinds of lines."""
    labels: dict[str, None] = {}
    for panel in panels:
        labels |= dict.fromkeys(curve.label for curve in panel.curves)
        labels |= dict.fromkeys(published.label for published in panel.published)
    lines = ("-", "--", "-.")
    return {
        label: {
            "color": COLORS[number % len(COLORS)],
            "linestyle": lines[number // len(COLORS) % len(lines)],
        }
        for number, label in enumerate(labels)
    }


def _draw_panel(axes: Any, panel: Panel, styles: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Draws a panel, and returns the legend's handles by label."""
    handles = {}
    for curve in panel.curves:
        handles[curve.label] = _draw_curve(axes, curve, styles[curve.label])
    for published in filter(lambda line: line.points, panel.published):
        color = styles[published.label]["color"]
        label = f"{published.label}, {published.note}"
        handles[label] = _draw_published(axes, published, color)
    _scale(axes, sorted({x for curve in panel.curves for x in curve.points}), panel.log_x)
    axes.set(xlabel=textwrap.fill(panel.x_name, 45), ylabel=textwrap.fill(panel.y_name, 34))
    axes.grid(alpha=0.3)
    return handles


def _draw_curve(axes: Any, curve: Curve, style: dict[str, Any]) -> Any:
    xs = sorted(curve.points)
    means, lows, highs = np.array([_mean_and_range(curve.points[x]) for x in xs]).reshape(-1, 3).T
    marker = "o" if len(xs) <= 40 else ""
    (line,) = axes.plot(xs, means, marker=marker, markersize=3.5, linewidth=1.4, **style)
    if len(xs) == 1:  # a band has no width there
        bars = np.stack([means - lows, highs - means])
        axes.errorbar(xs, means, bars, color=style["color"], capsize=3, linestyle="none")
    else:
        axes.fill_between(xs, lows, highs, color=style["color"], alpha=0.2, linewidth=0)
    return line


def _mean_and_range(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, least, greatest) of the values, or nan if one of them is not finite."""
    if not len(values) or not np.all(np.isfinite(values)):
        return math.nan, math.nan, math.nan
    return float(np.mean(values)), min(values), max(values)


def _draw_published(axes: Any, published: PublishedCurve, color: str) -> Any:
    if None in published.points:
        level, deviation = published.points[None]
        handle = axes.axhline(level, color=color, linestyle=":", linewidth=1.2)
        if deviation:
            axes.axhspan(level - deviation, level + deviation, color=color, alpha=0.08, linewidth=0)
    xs = sorted(x for x in published.points if x is not None)
    if xs:
        means, deviations = zip(*(published.points[x] for x in xs), strict=True)
        handle = axes.errorbar(
            xs,
            means,
            [deviation or math.nan for deviation in deviations],
            color=color,
            fmt="D",
            markersize=4.5,
            markerfacecolor="white",
            linestyle=":",
            linewidth=1.0,
            capsize=3,
        )
    return handle


def _scale(axes: Any, xs: Sequence[float], log_x: bool) -> None:
    """Puts the ticks at the values themselves, if these are few and their labels have room."""
    log_x = log_x and bool(xs) and xs[0] > 0
    if log_x:
        axes.set_xscale("log")
        axes.minorticks_off()
    places = np.log(xs) if log_x else np.array(xs)
    gaps = np.diff(places)
    if not 0 < len(xs) <= 8 or (len(xs) > 1 and gaps.min() < gaps.sum() / 9):
        return
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
