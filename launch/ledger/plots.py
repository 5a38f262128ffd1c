"""The curves of a table, as pictures that carry a digest of the records they were drawn from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from launch.ledger.record import Record
from launch.ledger.table import Table
from launch.ledger.views import STEP, Curves, is_in
from sfvae_jax.reporting.curve_pictures import Panel, draw_panels
from sfvae_jax.reporting.curves import (
    curves_over_key,
    curves_over_steps,
    is_logarithmic,
    published_over_key,
    published_over_steps,
)
from sfvae_jax.reporting.measures import with_unit
from sfvae_jax.training.settings import flatten

_KEYWORD = "records"  # of the PNG's text that holds the digest
# What is drawn, or decides what is: neither when nor where a run was made.
_DRAWN = ("config", "step", "metrics", "history", "published")


def draw(table: Table, records: Sequence[Record], path: Path) -> None:
    """Draws all curves of a table.

    Args:
        table: whose views say what is drawn.
        records: of one setting.
        path: of the PNG.

    Raises:
        OSError: if it cannot be written.
    """
    draw_panels(_panels(table, records), path, metadata={_KEYWORD: digest(table, records)})


def pictures_of(table: Table, by_setting: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """The name of the picture of each setting that has curves to draw.

    Args:
        table: whose views say what is drawn.
        by_setting: its records, as from `Account.by_setting`.
    """
    settings = [setting for setting, records in by_setting.items() if _panels(table, records)]
    names = [table.name, *(f"{table.name}-{number}" for number in range(2, len(settings) + 1))]
    return dict(zip(settings, (f"{name}.png" for name in names), strict=False))


def digest(table: Table, records: Sequence[Record]) -> str:
    """Of everything that decides the picture's content."""
    drawn = [{key: record.get(key) for key in _DRAWN} for record in records]
    text = json.dumps([repr(table.shows), drawn], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_in(path: Path) -> str | None:
    """The digest that a picture carries; None where there is no such picture."""
    try:
        with Image.open(path) as image:
            return image.info.get(_KEYWORD)
    except OSError:
        return None


def _panels(table: Table, records: Sequence[Record]) -> list[Panel]:
    views = [view for view in table.shows if isinstance(view, Curves)]
    panels = [_panel(view, measure, records) for view in views for measure in view.measures]
    return [panel for panel in panels if panel is not None]


def _panel(view: Curves, measure: str, records: Sequence[Record]) -> Panel | None:
    records = [record for record in records if is_in(flatten(record["config"]), view.where)]
    if not records:
        return None
    if view.over == STEP:
        curves = curves_over_steps(records, measure)
        published = published_over_steps(records, measure)
    else:
        curves = curves_over_key(records, measure, view.over)
        published = published_over_key(records, measure, view.over)
    xs = sorted({x for curve in curves for x in curve.points})
    if len(xs) < 2:  # no curve
        return None
    chosen = "".join(f", {key}={value}" for key, value in view.where)
    over = f"{'steps' if view.over == STEP else view.over}{chosen}"
    return Panel(curves, over, with_unit(measure), is_logarithmic(xs), published)
