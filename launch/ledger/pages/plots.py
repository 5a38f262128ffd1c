"""The curves of a table as pictures, each with a digest of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from launch.ledger.record import Record
from launch.ledger.table import Table
from launch.ledger.views import SECONDS, STEP, Curves, chosen_by
from sfvae_jax.reporting.curves import (
    Panel,
    draw_panels,
    panels_over_key,
    panels_over_measure,
    panels_over_steps,
)

_KEYWORD = "records"  # under which the PNG file stores the digest


class Picture(NamedTuple):
    """The curves of one setting of a table: the name of the PNG file and its panels."""

    name: str
    panels: list[Panel]


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Draws a picture and stores the digest of its content in the file.

    Args:
        panels: the panels of a `Picture`.
        path: where the PNG file goes.

    Raises:
        OSError: if it cannot be written.
    """
    draw_panels(panels, path, metadata={_KEYWORD: digest(panels)})


def pictures_of(table: Table, by_setting: Mapping[str, Sequence[Record]]) -> dict[str, Picture]:
    """Returns the picture of each setting that has curves.

    Args:
        table: the table, whose views say what is drawn.
        by_setting: its records, as `Account.by_setting` gives them.
    """
    drawn = {setting: _panels_of(table, records) for setting, records in by_setting.items()}
    drawn = {setting: panels for setting, panels in drawn.items() if panels}
    names = [table.name, *(f"{table.name}-{number}" for number in range(2, len(drawn) + 1))]
    return {
        setting: Picture(f"{name}.png", panels)
        for (setting, panels), name in zip(drawn.items(), names, strict=False)
    }


def _panels_of(table: Table, records: Sequence[Record]) -> list[Panel]:
    """Returns all curves of a table for the records of one setting."""
    return [panel for view in table.views(Curves) for panel in _of_view(view, records)]


def digest(panels: Sequence[Panel]) -> str:
    """Returns the digest of everything in a picture: names, points and published figures."""
    return hashlib.sha256(repr(panels).encode()).hexdigest()


def digest_in(path: Path) -> str | None:
    """Returns the digest that a picture contains; None if there is no such picture."""
    try:
        with Image.open(path) as image:
            return image.info.get(_KEYWORD)
    except OSError:
        return None


def _of_view(view: Curves, records: Sequence[Record]) -> list[Panel]:
    records = [_since(view.since, record) for record in chosen_by(view.where, records)]
    if not records:
        return []
    if view.over == STEP:
        panels = panels_over_steps(records, view.measures)
    elif view.over == SECONDS:
        panels = panels_over_measure(records, SECONDS, view.measures)
    else:
        panels = panels_over_key(records, view.over, view.measures)
    chosen = "".join(f", {key}={value}" for key, value in view.where)
    return [panel._replace(x_name=f"{panel.x_name}{chosen}") for panel in panels]


def _since(first: int, record: Record) -> Record:
    """Returns a record without the measures of steps before the first one that is drawn."""
    history = record.get("history", {})
    return {**record, "history": {s: taken for s, taken in history.items() if int(s) >= first}}
