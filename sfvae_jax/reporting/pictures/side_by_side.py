"""Pictures of several runs in one: samples, latent planes and manifolds side by side.

Each run has drawn its own; what is shown of it is the panel that its file marks (`pictures.PANEL`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from sfvae_jax.evaluation.figures import PANEL, new_figure, save
from sfvae_jax.options import is_number
from sfvae_jax.reporting.methods import by_method
from sfvae_jax.reporting.runs import Run
from sfvae_jax.runs.files.config_file import flatten

PICTURES = {
    "samples.png": "Means of p(x|z) for z from the prior",
    "latent_plane.png": "Posterior means by label",
    "manifold.png": "Means of p(x|z) over the latent plane, at points of equal prior mass",
}
_NO_METHOD = ("seed", "data.fingerprint")  # keys in which runs of one method may differ
_MOST_TILES = 40
_COLUMNS = 4  # where rows and columns are no keys
_WIDTH, _LABEL = 2.6, 36  # of a tile in inches, of its label in letters

Settings = Mapping[str, Any]  # flat


class Tile(NamedTuple):
    """A picture and its place.

    Attributes:
        row: what its row says.
        column: what stands above it, alike in a whole column where rows say something.
        panel: its pixels, [H, W, 3].
    """

    row: str
    column: str
    panel: np.ndarray


def side_by_side(runs: Mapping[Path, Run]) -> dict[str, list[Tile]]:
    """The tiles of each of `PICTURES`, none where fewer than two methods have it, or more than 40.

    Of the runs of one method that with the least seed is shown.

    Args:
        runs: contents of results.json, each by its path.
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
    """The pixels of a figure's panel, [H, W, 3]; the whole figure of a file that marks none.

    None where there is no such file, or it is no picture.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            place = getattr(picture, "text", {}).get(PANEL, "0 0 1 1")
            left, top, right, bottom = map(float, place.split())
            first = (math.floor(width * left), math.floor(height * top))
            last = (math.ceil(width * right), math.ceil(height * bottom))
            return np.asarray(picture.convert("RGB").crop((*first, *last)))
    except (OSError, ValueError, UnidentifiedImageError):
        return None


def arrange(methods: Mapping[str, Settings]) -> list[tuple[str, str]]:
    """What stands beside and above the picture of each method.

    Args:
        methods: the flat configuration of each by its name.

    Returns:
        (row, column) of each. Methods that differ in two keys have the one of fewer values for
        their row and the other for their column, such as ("data.scale=0.1", "objective.tau=0.2").
        Those that differ in one key have no row and its value for their column, others their name.
    """
    settings = list(methods.values())
    keys = sorted(_telling_keys(settings), key=lambda key: (len(_values(settings, key)), key))
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
    """A grid of labelled pictures.

    Args:
        tiles: of which two in one row and column are not both seen, where rows have names.
        title: of the figure.
        path: of the file.

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
    lines = 0.2 * max(len(textwrap.wrap(label, _LABEL)) for label in columns)
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
            axes.set_title(textwrap.fill(tile.column, _LABEL), fontsize="small")
        if place[1] == 0:
            axes.set_ylabel(tile.row, fontsize="small")
    save(figure, path)


def _telling_keys(settings: Sequence[Settings]) -> list[str]:
    """The keys in which methods differ, without those whose values follow from another key's."""
    keys = [
        key
        for key in sorted(set().union(*settings))
        if key not in _NO_METHOD and not key.startswith("evaluations.")
    ]
    varying = [key for key in keys if len(_values(settings, key)) > 1]
    told: list[str] = []
    for key in sorted(varying, key=lambda key: -len(_values(settings, key))):
        if all(len(_values(settings, k, key)) > len(_values(settings, k)) for k in told):
            told.append(key)
    return told


def _values(settings: Sequence[Settings], *keys: str) -> set[tuple[str, ...]]:
    return {tuple(repr(own.get(key)) for key in keys) for own in settings}


def _in_order(labels: Iterable[str]) -> list[str]:
    """Each label once: in the order of their numbers if all are KEY=NUMBER, else as they come."""
    found = list(dict.fromkeys(labels))
    numbers = {label: _number(label) for label in found}
    return found if None in numbers.values() else sorted(found, key=numbers.get)


def _number(label: str) -> float | None:
    try:
        number = float(label.partition("=")[2])
    except ValueError:
        return None
    return number if is_number(number) else None
