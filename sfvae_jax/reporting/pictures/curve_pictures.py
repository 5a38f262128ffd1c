"""Pictures of curves: means over seeds with standard deviations, and published figures."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sfvae_jax.evaluation import style
from sfvae_jax.evaluation.figures import legend_below, new_figure, save

_FEW = 12  # with so many points or fewer, a curve shows each of its runs
_ASIDE = 6.0  # points between a mean, its runs on the right and what is published on the left


class Curve(NamedTuple):
    """A line in a picture.

    Attributes:
        label: its label in the legend, such as the method.
        points: the values over seeds at each x. The line is their mean, its intervals or its band
            the standard deviation, and small dots are single values. If one of them is not finite,
            the line has a gap there.
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
    width, height = (6.4, 4.0) if len(panels) == 1 else (3.9 * columns, 3.3 * rows)
    figure = new_figure(width, height + 0.4)
    labels = [curve.label for panel in panels for curve in panel.curves]
    labels += [published.label for panel in panels for published in panel.published]
    looks = style.looks(labels)
    handles: dict[str, Any] = {}
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid, panels, strict=False):
        handles |= _draw_panel(axes, panel, looks)
    if any(_shows_runs(curve) for panel in panels for curve in panel.curves):
        handles["single runs"] = grid[0].plot([], [], **style.SINGLE_RUNS, color=style.GREY)[0]
    legend_below(figure, handles)
    save(figure, path, metadata)


def _draw_panel(axes: Any, panel: Panel, looks: Mapping[str, style.Look]) -> dict[str, Any]:
    """Draws a panel, and returns the legend's handles by label."""
    handles = {}
    for curve in panel.curves:
        handles[curve.label] = _draw_curve(axes, curve, looks[curve.label])
    for published in filter(lambda line: line.points, panel.published):
        color = looks[published.label].color
        label = f"{published.label}, {published.note}"
        handles[label] = _draw_published(axes, published, color)
    _scale(axes, sorted({x for curve in panel.curves for x in curve.points}), panel.log_x)
    axes.set(xlabel=textwrap.fill(panel.x_name, 38), ylabel=textwrap.fill(panel.y_name, 28))
    return handles


def _shows_runs(curve: Curve) -> bool:
    """Whether single runs are drawn, and the deviation as an interval at each point."""
    return len(curve.points) <= _FEW and any(len(values) > 1 for values in curve.points.values())


def _draw_curve(axes: Any, curve: Curve, look: style.Look) -> Any:
    """Draws a curve: with few points an interval at each and its runs, with many a band."""
    xs = sorted(curve.points)
    spreads = [_mean_and_deviation(curve.points[x]) for x in xs]
    means, deviations = np.array(spreads).reshape(-1, 2).T
    color = look.color
    marker = look.marker if len(xs) <= 40 else ""
    drawn = {"color": color, "linestyle": look.linestyle, "marker": marker, "markersize": 5}
    (line,) = axes.plot(xs, means, **drawn)
    if _shows_runs(curve):
        axes.errorbar(xs, means, deviations, color=color, capsize=3, fmt="none", elinewidth=1.2)
        for x in (x for x, mean in zip(xs, means, strict=True) if np.isfinite(mean)):
            values = curve.points[x]
            dots = {**style.SINGLE_RUNS, "color": color, "transform": _aside(axes, _ASIDE)}
            axes.plot([x] * len(values), values, **dots)
            _include(axes, [x] * len(values), values)
    else:
        low, high = means - deviations, means + deviations
        axes.fill_between(xs, low, high, color=color, alpha=0.2, linewidth=0)
    return line


def _aside(axes: Any, points: float) -> Any:
    """Returns the transform of data that are drawn a few points to the right."""
    from matplotlib.transforms import ScaledTranslation  # after the first figure

    shift = ScaledTranslation(points / 72, 0.0, axes.figure.dpi_scale_trans)
    return axes.transData + shift


def _include(axes: Any, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Lets the axes reach points that are drawn aside, which matplotlib does not count."""
    axes.update_datalim(np.stack([xs, ys], axis=1))
    axes.autoscale_view()


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """(mean, standard deviation) of the values; nan if it has none, or a value is not finite."""
    if not len(values) or not np.all(np.isfinite(values)):
        return math.nan, math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


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
            transform=_aside(axes, -_ASIDE),
        )
        for sign in (-1.0, 1.0):
            ends = [m + sign * (d or 0.0) for m, d in zip(means, deviations, strict=True)]
            _include(axes, xs, ends)
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
