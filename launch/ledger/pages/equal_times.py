"""The tables of methods after equal times of training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import mean, stdev

import numpy as np

from launch.ledger.record import Record
from launch.ledger.views import SECONDS, EqualTimes, chosen_by, heading_of
from sfvae_jax.reporting.markdown import code, lines_of
from sfvae_jax.reporting.measures import number, title
from sfvae_jax.reporting.methods import by_method
from sfvae_jax.reporting.runs import by_step


def tables_after_seconds(views: Sequence[EqualTimes], records: Sequence[Record]) -> list[str]:
    """Returns the tables of all views that have records, and how their numbers were found."""
    texts = [text for view in views for text in _table(view, chosen_by(view.where, records))]
    return [*texts, _NOTE] if texts else []


_NOTE = (
    "A step's time is the median of its run. Between the steps that were measured, a measure is"
    ' interpolated over the logarithm of the step; "—" is for times before the first of them, or'
    " after the last."
)


def value_after(run: Record, measure: str, seconds: float) -> float | None:
    """Returns a measure of a run after some time of training; None outside the measured steps."""
    step = seconds / _seconds_per_step(run)
    taken = {int(at): measured.get(measure) for at, measured in by_step(run).items()}
    points = sorted((at, value) for at, value in taken.items() if at and value is not None)
    if not points or not points[0][0] <= step <= points[-1][0]:
        return None
    steps, values = zip(*points, strict=True)
    return float(np.interp(np.log(step), np.log(steps), values))


def _table(view: EqualTimes, records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    chosen = list(itertools.product(view.measures, view.seconds))
    heads = [f"{title(measure)}, {seconds:g} s" for measure, seconds in chosen]
    rows = [
        [
            code(method),
            str(len(runs)),
            _mean(SECONDS, [1e3 * _seconds_per_step(run) for run in runs]),
            *(_mean(m, [value_after(run, m, s) for run in runs]) for m, s in chosen),
        ]
        for method, runs in by_method(records).items()
    ]
    heading = f"{heading_of(view.where)}, after equal times of training:"
    return [heading, lines_of(["method", "runs", "ms per step", *heads], rows)]


def _seconds_per_step(run: Record) -> float:
    return run["metrics"][SECONDS] / run["step"]


def _mean(measure: str, values: Sequence[float | None]) -> str:
    """Returns the mean ± deviation over runs; a dash unless all of them have a value."""
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        return "—"
    return number(measure, mean(found), stdev(found) if len(found) > 1 else None)
