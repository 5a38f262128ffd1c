"""Drawings of sequences: tables of texts, curves, structural formulas, networks.

Imported late, as `pictures` is: it loads matplotlib.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sfvae_jax.evaluation.figures import COLORS, add_legend, new_figure, save

_WRONG = COLORS[1]
_SIZE = 9.0  # of a table's text, in points
_CHARACTER, _LINE = 0.602 * _SIZE / 72, 1.35 * _SIZE / 72  # DejaVu Sans Mono's, in inches
_MARGIN = 0.15


class Cell(NamedTuple):
    """A text of a table.

    Attributes:
        text: any; long ones are broken.
        marked: whether a cross and a colour say that it is wrong.
    """

    text: str
    marked: bool = False


def draw_table(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], title: str, path: Path
) -> None:
    """A table of texts in a font of one width, as large as they need.

    Args:
        header: of each column.
        rows: as many cells as there are columns.
        title: of the figure.
        path: of the file.
    """
    columns = [[cell.text for cell in column] for column in zip(*rows, strict=True)]
    most = max(24, 120 // len(header))  # characters of a column
    widths = [
        min(max(map(len, [name, *column])), most) + 4
        for name, column in zip(header, columns, strict=True)
    ]
    lines = [[_broken(cell.text, most) for cell in row] for row in rows]
    heights = [max(map(len, row)) * _LINE + 0.5 * _LINE for row in lines]
    width = max(sum(widths) * _CHARACTER + 2 * _MARGIN, 5.0)
    title_lines = _broken(title, int(width / (1.15 * _CHARACTER)))
    top = len(title_lines) * 1.3 * _LINE + 2.6 * _LINE  # title and header
    height = sum(heights) + top + 2 * _MARGIN
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # inches, downwards
    axes.axis("off")
    style = {"family": "DejaVu Sans Mono", "va": "top", "fontsize": _SIZE}
    axes.text(_MARGIN, _MARGIN, "\n".join(title_lines), va="top", fontsize=1.2 * _SIZE)
    lefts = _MARGIN + _CHARACTER * np.cumsum([0, *widths[:-1]])
    y = _MARGIN + top
    for name, left in zip(header, lefts, strict=True):
        axes.text(left, y - 1.8 * _LINE, name, weight="bold", **style)
    axes.axhline(y - 0.4 * _LINE, _MARGIN / width, 1 - _MARGIN / width, color="black", lw=0.8)
    for row, broken, space in zip(rows, lines, heights, strict=True):
        for cell, text, left in zip(row, broken, lefts, strict=True):
            color = _WRONG if cell.marked else "black"
            axes.text(left + 2 * _CHARACTER, y, "\n".join(text), color=color, **style)
            if cell.marked:
                axes.text(left, y, "\N{BALLOT X}", color=color, **style)
        y += space
        axes.axhline(y - 0.3 * _LINE, _MARGIN / width, 1 - _MARGIN / width, color="0.85", lw=0.6)
    save(figure, path)


def draw_curves(
    rows: Sequence[Sequence[tuple[str, tuple[np.ndarray, np.ndarray] | None]]],
    title: str,
    path: Path,
) -> None:
    """A panel for each expression: its text over its curve y(x); a row for each interpolation.

    Args:
        rows: texts with x [n] and y [n], or None for a text that is no expression.
        title: of the figure.
        path: of the file.
    """
    figure, panels = _grid(rows, title, height=1.7)
    for axes, text, curve in panels:
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
        if curve is None:
            _leave_empty(axes, text, "no expression")
            continue
        x, y = curve[0], np.where(np.isfinite(curve[1]), curve[1], np.nan)
        axes.set_title(_caption(text), fontsize=7.5, family="DejaVu Sans Mono")
        axes.plot(x, y, color=COLORS[0], lw=1.2)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(_limits(y))
        axes.grid(alpha=0.3)
    save(figure, path)


def draw_structures(
    rows: Sequence[Sequence[tuple[str, np.ndarray | None]]], title: str, path: Path
) -> None:
    """A panel for each molecule: its SMILES over its formula; a row for each interpolation.

    Args:
        rows: texts with images [H, W, 3], or None for a text that is no molecule.
        title: of the figure.
        path: of the file.
    """
    figure, panels = _grid(rows, title, height=1.9)
    for axes, text, image in panels:
        if image is None:
            _leave_empty(axes, text, "no molecule")
            continue
        axes.set_title(_caption(text), fontsize=7, family="DejaVu Sans Mono")
        axes.imshow(image)
        axes.axis("off")
    save(figure, path)


def draw_networks(
    rows: Sequence[Sequence[Sequence[tuple[str, float]]]],
    title: str,
    path: Path,
    *,
    has_values: bool = True,
) -> None:
    """A panel for each interpolation, in it a line of blocks for each network.

    A block is a layer: its colour the type, its height the value, on one scale for all.

    Args:
        rows: networks of (type, value).
        title: of the figure.
        path: of the file.
        has_values: whether the values mean anything.
    """
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    every = [layer for row in rows for network in row for layer in network]
    types = sorted({kind for kind, _ in every})
    colors = COLORS if len(types) <= len(COLORS) else colormaps["tab20"].colors
    color = {kind: colors[i % len(colors)] for i, kind in enumerate(types)}
    low, high = np.min([0.0, *(v for _, v in every)]), np.max([0.0, *(v for _, v in every)])
    longest = max((len(network) for row in rows for network in row), default=1)
    steps = max(map(len, rows))
    figure = new_figure(len(rows) * max(0.5 * longest + 1.3, 3.6), 0.55 * steps + 1.6)
    _set_title(figure, title)
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    for number, (axes, row) in enumerate(zip(panels, rows, strict=True)):
        for line, network in enumerate(row):
            for place, (kind, value) in enumerate(network):
                size = 0.12 + 0.68 * (value - low) / ((high - low) or 1.0)
                axes.bar(place + 1, size, 0.9, bottom=-line, color=color[kind])
            if not network:
                axes.text(1, -line, "no layer", color=_WRONG, fontsize=8)
        axes.set(xlim=(0.3, longest + 0.7), ylim=(0.15 - steps, 1.0), title=f"pair {number + 1}")
        axes.set_xlabel("layer")
        axes.set_xticks(range(1, longest + 1))
        axes.set_yticks([-line for line in range(len(row))], range(1, len(row) + 1))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
    panels[0].set_ylabel("step")
    handles = [Patch(color=color[kind]) for kind in types]
    scale = f"height: value, {low:.3g} to {high:.3g}" if has_values else "type"
    style = {"loc": "outside lower center", "ncols": 4, "fontsize": "small", "title": scale}
    add_legend(figure, handles, types, **style)
    save(figure, path)


def _grid(rows: Sequence[Sequence[tuple]], title: str, height: float) -> tuple[Any, list[tuple]]:
    """A figure, and (axes, text, what is drawn) of each of its panels."""
    columns = max(map(len, rows))
    lines = max(_caption(text).count("\n") + 1 for row in rows for text, _ in row)
    figure = new_figure(2.2 * columns + 0.4, (height + 0.13 * lines) * len(rows) + 0.6)
    _set_title(figure, title)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes in line[len(row) :]:
            axes.set_visible(False)
    filled = [
        (axes, *entry)
        for line, row in zip(grid, rows, strict=True)
        for axes, entry in zip(line, row, strict=False)
    ]
    return figure, filled


def _set_title(figure: Any, title: str) -> None:
    """Above all panels, in as many lines as it needs."""
    figure.suptitle("\n".join(_broken(title, int(72 * figure.get_figwidth() / 7.5))))


def _leave_empty(axes: Any, text: str, reason: str) -> None:
    style = {"fontsize": 7, "family": "DejaVu Sans Mono"}
    axes.set_title(_caption(text), color=_WRONG, **style)
    axes.text(0.5, 0.5, reason, color=_WRONG, ha="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("0.85")


def _caption(text: str) -> str:
    """A text in the lines of a panel, four at most."""
    lines = _broken(text, 28)
    return "\n".join(
        [*lines[:3], lines[3][:27] + "\N{HORIZONTAL ELLIPSIS}"] if len(lines) > 4 else lines
    )


def _limits(y: np.ndarray) -> tuple[float, float]:
    """Of a curve, so that its poles do not flatten the rest."""
    finite = y[np.isfinite(y)]
    if not len(finite):
        return -1.0, 1.0
    low, high = np.quantile(finite, (0.03, 0.97))
    margin = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _broken(text: str, width: int) -> list[str]:
    """Lines of at most so many characters, broken at spaces where there are some."""
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
