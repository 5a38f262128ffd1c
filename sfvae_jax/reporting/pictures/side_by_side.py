"""Samples, latent planes and manifolds of several runs side by side.

Each run has drawn its own figure. The part of it that is shown here is the panel that the file
marks (`figures.PANEL`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sfvae_jax.evaluation.figures import PANEL, new_figure, save
from sfvae_jax.options import is_number
from sfvae_jax.reporting.methods import by_method
from sfvae_jax.reporting.runs import Run
from sfvae_jax.runs.files.config_file import flatten

PICTURES = {
    "samples.png": "Samples of the prior, decoded",
    "latent_plane.png": "Codes by label",
    "manifold.png": "The latent plane, decoded at points of equal prior mass",
}
_NO_METHOD = ("seed", "data.fingerprint")  # runs of one method may differ in these keys
_MOST_TILES = 40
_COLUMNS = 4  # if rows and columns do not stand for keys
_WIDTH, _LABEL = 2.8, 30  # a tile's width in inches, and its label's in characters

Settings = Mapping[str, Any]  # a flat configuration


class Tile(NamedTuple):
    """A picture and its place in the grid.

    Attributes:
        row: the label of its row; empty if rows have none.
        column: the label above it, that of the whole column if rows have labels.
        panel: its pixels, [H, W, 3].
    """

    row: str
    column: str
    panel: np.ndarray


def side_by_side(runs: Mapping[Path, Run]) -> dict[str, list[Tile]]:
    """Returns the tiles of each of `PICTURES`; none unless 2 to 40 methods have it.

    A method is shown by its run with the smallest seed.

    Args:
        runs: the contents of each results.json by its path.
    """
    paths = {id(run): path for path, run in runs.items()}
    methods = {
        label: min(group, key=lambda run: run["config"]["seed"])
        for label, group in by_method(list(runs.values())).items()
    }
    places = arrange({label: flatten(run["config"]) for label, run in methods.items()})
    drawn = {}
    for name in PICTURES:
        panels = (read_panel(paths[id(r)].parent / "figures" / name) for r in methods.values())
        found = zip(places, panels, strict=True)
        tiles = [Tile(*place, panel) for place, panel in found if panel is not None]
        drawn[name] = tiles if 2 <= len(tiles) <= _MOST_TILES else []
    return drawn


def read_panel(path: Path) -> np.ndarray | None:
    """Returns the pixels of a figure's panel, [H, W, 3], or of the whole figure if it marks none.

    It returns None if there is no such file, or the file is not a picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            place = getattr(picture, "text", {}).get(PANEL, "0 0 1 1")
            left, top, right, bottom = map(float, place.split())
            first = (math.floor(width * left), math.floor(height * top))
            last = (math.ceil(width * right), math.ceil(height * bottom))
            return np.asarray(picture.convert("RGB").crop((*first, *last)))
    except (OSError, ValueError):
        return None


def arrange(methods: Mapping[str, Settings]) -> list[tuple[str, str]]:
    """Returns the labels of each method's picture: (row, column).

    If the methods differ in two keys, the one with fewer values labels the rows and the other the
    columns, as in ("data.scale=0.1", "objective.tau=0.2"). If they differ in one key, it labels the
    columns. If they differ in more, each picture has the method's name.

    Args:
        methods: the flat configuration of each method by its name.
    """
    settings = list(methods.values())
    keys = sorted(
        _distinguishing_keys(settings), key=lambda key: (len(_values(settings, key)), key)
    )
    names = [("", name) for name in methods]
    if not 1 <= len(keys) <= 2:
        return names
    row = keys[0] if len(keys) == 2 else None
    places = [
        (f"{row}={own.get(row)}" if row else "", f"{keys[-1]}={own.get(keys[-1])}")
        for own in settings
    ]
    return places if len(set(places)) == len(places) else names


def draw_tiles(tiles: Sequence[Tile], title: str, path: Path) -> None:
    """Draws a grid of labelled pictures.

    Args:
        tiles: the pictures; if rows have labels, no two in the same row and column.
        title: the title of the figure.
        path: where the file is written.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    rows, columns = _in_order(t.row for t in tiles), _in_order(t.column for t in tiles)
    if rows == [""]:
        size = (math.ceil(len(tiles) / _COLUMNS), min(len(tiles), _COLUMNS))
        ordered = sorted(tiles, key=lambda tile: columns.index(tile.column))
        places = {divmod(number, _COLUMNS): tile for number, tile in enumerate(ordered)}
    else:
        size = (len(rows), len(columns))
        places = {(rows.index(t.row), columns.index(t.column)): t for t in tiles}
    shapes = [tile.panel.shape for tile in tiles]
    height = _WIDTH * float(np.median([shape[0] / shape[1] for shape in shapes]))
    lines = 0.23 * max(len(textwrap.wrap(label, _LABEL)) for label in columns)
    own, shared = (lines, 0.0) if rows == [""] else (0.0, lines)
    figure = new_figure(_WIDTH * size[1] + 0.5, (height + own + 0.1) * size[0] + shared + 0.5)
    figure.suptitle(title)
    panels = figure.subplots(*size, squeeze=False)
    for place, axes in np.ndenumerate(panels):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if place not in places:
            continue
        tile = places[place]
        axes.imshow(tile.panel, interpolation="antialiased")
        if rows == [""] or place[0] == 0:
            axes.set_title(textwrap.fill(tile.column, _LABEL))
        if place[1] == 0:
            axes.set_ylabel(tile.row)
    save(figure, path)


def _distinguishing_keys(settings: Sequence[Settings]) -> list[str]:
    """The keys in which methods differ, without keys whose values follow from another key's."""
    keys = [
        key
        for key in sorted(set().union(*settings))
        if key not in _NO_METHOD and not key.startswith("evaluations.")
    ]
    varying = [key for key in keys if len(_values(settings, key)) > 1]
    independent: list[str] = []
    for key in sorted(varying, key=lambda key: -len(_values(settings, key))):
        if all(len(_values(settings, k, key)) > len(_values(settings, k)) for k in independent):
            independent.append(key)
    return independent


def _values(settings: Sequence[Settings], *keys: str) -> set[tuple[str, ...]]:
    return {tuple(repr(own.get(key)) for key in keys) for own in settings}


def _in_order(labels: Iterable[str]) -> list[str]:
    """The different labels, sorted by their numbers if all are KEY=NUMBER, else as they come."""
    found = list(dict.fromkeys(labels))
    numbers = {label: _number(label) for label in found}
    if any(map(math.isnan, numbers.values())):
        return found
    return sorted(found, key=lambda label: numbers[label])


def _number(label: str) -> float:
    """The number in KEY=NUMBER; nan if there is none that a float32 can hold."""
    try:
        number = float(label.partition("=")[2])
    except ValueError:
        return math.nan
    return number if is_number(number) else math.nan
