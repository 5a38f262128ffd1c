"""How the page of a table shows its records: as a table, a grid, curves or pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sfvae_jax.reporting.markdown import code
from sfvae_jax.runs.files.config_file import flatten

END = "end"  # the last step of each run
STEP = "step"  # curves over the steps of training
SECONDS = "training_seconds"  # curves over the wall time of training


@dataclasses.dataclass(frozen=True)
class Measures:
    """A table of methods and measures, obtained beside published.

    Attributes:
        columns: (measure, step) of each column; the step is a number or "end". Empty: all measures.
        where: (key, value) pairs that a run must have to be in this table.
    """

    columns: tuple[tuple[str, str], ...] = ()
    where: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Steps:
    """A table for each run: measures in rows, the steps at which they were taken in columns.

    Numbers stand beside their standard errors, as far as these were measured.

    Attributes:
        title: what the measures are.
        rows: (name, measure) of each row.
    """

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class EqualTimes:
    """A table of methods after equal times of training, whatever number of steps these allow.

    Runs must have the measure "training_seconds".

    Attributes:
        measures: what is compared.
        seconds: the times.
        where: (key, value) pairs that a run must have to be in this table.
    """

    measures: tuple[str, ...]
    seconds: tuple[float, ...]
    where: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Grid:
    """One measure over two keys of the configuration, one in rows and one in columns.

    Attributes:
        measure: the measure in the cells, at the end of each run.
        down: the key whose values are the rows.
        across: the key whose values are the columns.
        where: (key, value) pairs that a run must have to be in this grid.
    """

    measure: str
    down: str
    across: str
    where: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Curves:
    """Measures over steps or seconds of training or over a swept key, with their deviations.

    Attributes:
        measures: one panel for each.
        over: "step", the measure "training_seconds", or a key of the configuration.
        where: (key, value) pairs that a run must have to be drawn.
        since: the first step that is drawn; those before would hide how the others differ.
    """

    measures: tuple[str, ...]
    over: str = STEP
    where: tuple[tuple[str, str], ...] = ()
    since: int = 0


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures that each run draws into its own folder; records do not contain them.

    Attributes:
        files: their names in the folder `figures/` of a run's workdir.
    """

    files: tuple[str, ...]


View = Measures | Steps | EqualTimes | Grid | Curves | Pictures


def is_in(config: Mapping[str, Any], where: tuple[tuple[str, str], ...]) -> bool:
    """Returns whether a flat configuration has the values that a view selects."""
    return all(str(config.get(key)) == value for key, value in where)


def heading_of(where: tuple[tuple[str, str], ...]) -> str:
    """Returns what a view selects, as Markdown."""
    return ", ".join(code(f"{key}={value}") for key, value in where)


def chosen_by(
    where: tuple[tuple[str, str], ...], records: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the records whose configurations have the values that a view selects."""
    return [record for record in records if is_in(flatten(record["config"]), where)]
