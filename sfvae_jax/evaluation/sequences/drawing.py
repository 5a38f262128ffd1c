"""Pictures of sequences: tables of texts, and panels with curves, images or blocks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sfvae_jax.data.sequences.kind import Blocks, Curves, Images, SequenceKind
from sfvae_jax.evaluation import style
from sfvae_jax.evaluation.figures import add_legend, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WRONG = style.VERMILLION
_SIZE = 9.0  # the size of a table's text, in points
_CHARACTER, _LINE = 0.602 * _SIZE / 72, 1.35 * _SIZE / 72  # DejaVu Sans Mono's, in inches
_MARGIN = 0.15
_NUM_POINTS = 401  # of a curve
_IMAGE_SIZE = (300, 220)  # pixels


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
        text: any text; a long one is broken.
        marked: whether a cross and a colour show that it is wrong.
    """

    text: str
    marked: bool = False


def draw_table(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], title: str, path: Path
) -> None:
    """Draws a table of texts in a monospaced font, as large as they need.

    Args:
        header: the name of each column.
        rows: in each row a cell for each column.
        title: the figure's title.
        path: the file that is written.
    """
    columns = [[cell.text for cell in column] for column in zip(*rows, strict=True)]
    most = max(24, 120 // len(header))  # characters in a column
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
    font: dict[str, Any] = {"family": "DejaVu Sans Mono", "va": "top", "fontsize": _SIZE}
    axes.text(_MARGIN, _MARGIN, "\n".join(title_lines), va="top", fontsize=1.2 * _SIZE)
    lefts = _MARGIN + _CHARACTER * np.cumsum([0, *widths[:-1]])
    y = _MARGIN + top
    for name, left in zip(header, lefts, strict=True):
        axes.text(left, y - 1.8 * _LINE, name, weight="bold", **font)
    axes.axhline(y - 0.4 * _LINE, _MARGIN / width, 1 - _MARGIN / width, color="black", lw=0.8)
    for row, broken, space in zip(rows, lines, heights, strict=True):
        for cell, text, left in zip(row, broken, lefts, strict=True):
            color = _WRONG if cell.marked else "black"
            axes.text(left + 2 * _CHARACTER, y, "\n".join(text), color=color, **font)
            if cell.marked:
                axes.text(left, y, "\N{BALLOT X}", color=color, **font)
        y += space
        axes.axhline(y - 0.3 * _LINE, _MARGIN / width, 1 - _MARGIN / width, color="0.85", lw=0.6)
    save(figure, path)


def draw_rows(kind: SequenceKind, rows: Sequence[Sequence[str]], title: str, path: Path) -> None:
    """Draws rows of texts, one for each interpolation, as their kind says.

    Args:
        kind: the kind of the texts.
        rows: texts that are valid or not.
        title: the figure's title.
        path: the file that is written.
    """
    match kind.drawing:
        case Curves() as curves:
            figure = _draw_curves(kind, curves, rows, title)
        case Images() as images:
            figure = _draw_images(kind, images, rows, title)
        case Blocks() as blocks:
            figure = _draw_blocks([[blocks.blocks(text) for text in row] for row in rows], title)
        case None:
            header = [f"pair {number + 1}" for number in range(len(rows))]
            steps = zip(*rows, strict=True)
            cells = [[Cell(text, not kind.is_valid(text)) for text in step] for step in steps]
            draw_table(header, cells, title, path)
            return
    save(figure, path)


def _draw_curves(
    kind: SequenceKind, curves: Curves, rows: Sequence[Sequence[str]], title: str
) -> Figure:
    """Draws a panel for each text, with the text above its curve y(x)."""
    x = np.linspace(-curves.limit, curves.limit, _NUM_POINTS)
    figure, panels = _grid(rows, title, height=1.7)
    for axes, text in panels:
        axes.tick_params(labelsize=_SIZE)
        axes.locator_params(nbins=3)
        if not kind.is_valid(text):
            _leave_empty(axes, text, f"no {kind.singular}")
            continue
        y = curves.values(text, x)
        y = np.where(np.isfinite(y), y, np.nan)
        axes.set_title(_caption(text), fontsize=_SIZE, family="DejaVu Sans Mono")
        axes.plot(x, y, color=style.BLUE)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(_limits(y))
    return figure


def _draw_images(
    kind: SequenceKind, images: Images, rows: Sequence[Sequence[str]], title: str
) -> Figure:
    """Draws a panel for each text, with the text above its image."""
    figure, panels = _grid(rows, title, height=1.9)
    for axes, text in panels:
        image = images.image(text, _IMAGE_SIZE) if kind.is_valid(text) else None
        if image is None:
            _leave_empty(axes, text, f"no {kind.singular}")
            continue
        axes.set_title(_caption(text), fontsize=_SIZE, family="DejaVu Sans Mono")
        axes.imshow(image)
        axes.axis("off")
    return figure


def _draw_blocks(rows: Sequence[Sequence[Sequence[tuple[str, float]]]], title: str) -> Figure:
    """Draws a panel for each row, in which each text is a line of blocks.

    A block's colour is its type, its height its value, on one scale for all.

    Args:
        rows: the blocks of each text, as (type, value).
        title: the figure's title.
    """
    every = [block for row in rows for blocks in row for block in blocks]
    types = sorted({block_type for block_type, _ in every})
    low, high = np.min([0.0, *(v for _, v in every)]), np.max([0.0, *(v for _, v in every)])
    longest = max((len(blocks) for row in rows for blocks in row), default=1)
    steps = max(map(len, rows))
    figure = new_figure(max(0.5 * longest + 1.3, 6.4), (0.5 * steps + 0.7) * len(rows) + 1.5)
    from matplotlib import colormaps  # after the first figure, which says where fonts are cached
    from matplotlib.patches import Patch

    tab20: Any = colormaps["tab20"]
    colors = next((c for c in (style.COLORS, style.CLASSES) if len(types) <= len(c)), tab20.colors)
    color = {block_type: colors[i % len(colors)] for i, block_type in enumerate(types)}
    _set_title(figure, title)
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, row) in enumerate(zip(panels, rows, strict=True)):
        for line, blocks in enumerate(row):
            for place, (block_type, value) in enumerate(blocks):
                size = 0.12 + 0.68 * (value - low) / ((high - low) or 1.0)
                axes.bar(place + 1, size, 0.9, bottom=-line, color=color[block_type])
            if not blocks:
                axes.text(1, -line, "no layer", color=_WRONG)
        axes.set(xlim=(0.3, longest + 0.7), ylim=(0.15 - steps, 1.0))
        axes.set_ylabel(f"pair {number + 1}, step")
        axes.set_xticks(range(1, longest + 1))
        axes.set_yticks([-line for line in range(len(row))], range(1, len(row) + 1))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
    panels[-1].set_xlabel("layer")
    handles = [Patch(color=color[block_type]) for block_type in types]
    scale = f"height: value, {low:.3g} to {high:.3g}"
    add_legend(figure, handles, types, loc="outside lower center", ncols=5, title=scale)
    return figure


def _grid(
    rows: Sequence[Sequence[str]], title: str, height: float
) -> tuple[Figure, list[tuple[Axes, str]]]:
    """Makes a figure, and returns it with the panel and the text of each of its places."""
    columns = max(map(len, rows))
    lines = max(_caption(text).count("\n") + 1 for row in rows for text in row)
    figure = new_figure(1.8 * columns + 0.4, (height + 0.17 * lines) * len(rows) + 0.6)
    _set_title(figure, title)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes in line[len(row) :]:
            axes.set_visible(False)
    return figure, [
        panel
        for line, row in zip(grid, rows, strict=True)
        for panel in zip(line, row, strict=False)
    ]


def _set_title(figure: Figure, title: str) -> None:
    """Writes a title above all panels, in as many lines as it needs."""
    figure.suptitle("\n".join(_broken(title, int(72 * figure.get_figwidth() / 8.0))))


def _leave_empty(axes: Axes, text: str, reason: str) -> None:
    font: dict[str, Any] = {"fontsize": _SIZE, "family": "DejaVu Sans Mono"}
    axes.set_title(_caption(text), color=_WRONG, **font)
    axes.text(0.5, 0.5, reason, color=_WRONG, ha="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("0.85")


def _caption(text: str) -> str:
    """Returns a text broken for a panel, into four lines at most."""
    lines = _broken(text, 20)
    return "\n".join(
        [*lines[:3], lines[3][:19] + "\N{HORIZONTAL ELLIPSIS}"] if len(lines) > 4 else lines
    )


def _limits(y: np.ndarray) -> tuple[float, float]:
    """Returns limits of y for a curve, chosen so that its poles do not flatten the rest."""
    finite = y[np.isfinite(y)]
    if not len(finite):
        return -1.0, 1.0
    low, high = np.quantile(finite, (0.03, 0.97))
    margin = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _broken(text: str, width: int) -> list[str]:
    """Returns lines with at most `width` characters, broken at spaces where there are some."""
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
