"""The tables of single runs over their steps, with standard errors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from launch.ledger.record import Record
from launch.ledger.views import Steps
from sfvae_jax.reporting.cells import Cell
from sfvae_jax.reporting.markdown import cell_text, code, lines_of, prose
from sfvae_jax.reporting.measures import number
from sfvae_jax.reporting.methods import by_method
from sfvae_jax.reporting.notes import DOUBT
from sfvae_jax.reporting.runs import by_step, caveats_at


def tables_over_steps(views: Sequence[Steps], records: Sequence[Record]) -> list[str]:
    """Returns the tables of each run, and what ± and the marks in them mean."""
    texts: list[str] = []
    notes: dict[str, None] = {}
    for method, runs in by_method(records).items():
        for run, view in itertools.product(runs, views):
            steps = list(by_step(run))
            rows = []
            for name, measure in view.rows:
                cells = [_with_error(measure, run, step) for step in steps]
                rows.append([name, *map(cell_text, cells)])
                caveats = [caveats_at(run, step).get(measure) for step in steps]
                notes |= {f"{DOUBT} {name}: {prose(text)}.": None for text in caveats if text}
            of_run = f"{view.title}, {code(method)} with seed {run['seed']}"
            texts += [f"{of_run}:", lines_of(["step", *steps], rows)]
    return [*texts, "Each number is that of one run, ± its standard error.", *notes]


def _with_error(measure: str, run: Record, step: str) -> Cell:
    """Returns a measure of a run at a step, with its standard error if it has one."""
    taken = by_step(run)[step]
    value = taken.get(measure)
    if value is None:
        return Cell()
    text = number(measure, value, taken.get(f"{measure}_standard_error"))
    return Cell(text, measure in caveats_at(run, step))
