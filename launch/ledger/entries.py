"""The runs that a table wants, each with the name of its record and of its workdir."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import ml_collections

from launch.configs import Overrides, load_sweep
from launch.filters import select
from launch.ledger.table import Part, Table
from launch.runs import Run, make_run
from sfvae_jax.errors import UsageError
from sfvae_jax.runs.run_names import name_in_table, names_of


@dataclasses.dataclass(eq=False)
class Entry:
    """One run that a table wants. Its configuration is made when it is first asked for.

    Attributes:
        table: the name of the table.
        part: which it is of.
        sweep_name: the run's name in the sweep of its config file.
        changes: what it changes itself.
        name: of its record and its workdir: the config file, the preset and what it changes.
    """

    table: str
    part: Part
    sweep_name: str
    changes: Overrides
    name: str

    @property
    def path(self) -> str:
        """TABLE/NAME, which no other run of any table has."""
        return f"{self.table}/{self.name}"

    @property
    def method(self) -> tuple[object, ...]:
        """What the runs have in common that differ in their seed alone."""
        own = {key: str(value) for key, value in self.changes.items() if key != "seed"}
        others = [text for text in self.part.overrides if not text.startswith("seed=")]
        return (self.part.config, *others, *own.items())

    @property
    def config(self) -> ml_collections.ConfigDict:
        """The configuration, resolved.

        Raises:
            UsageError: if it cannot be run.
        """
        return self._run.config

    def run(self, folder: Path) -> Run:
        """The run, with the workdir FOLDER/TABLE/NAME.

        Raises:
            UsageError: if it cannot be run.
        """
        return dataclasses.replace(self._run, workdir=folder / self.path)

    @functools.cached_property
    def _run(self) -> Run:
        overrides = [f"--config.{text}" for text in self.part.overrides]
        return make_run(self.part.config, overrides, self.changes, self.path, Path())


def entries_of(table: Table) -> list[Entry]:
    """Every run that a table wants, in its order.

    Raises:
        UsageError: if a config file breaks, a filter matches no run, or two runs have one name.
    """
    found: list[Entry] = []
    try:
        for part in table.parts:
            found += _of_part(table.name, part, {entry.name.lower(): entry for entry in found})
    except UsageError as error:
        raise UsageError(f"{table.name}: {error}") from error
    return found


def _of_part(table: str, part: Part, taken: dict[str, Entry]) -> list[Entry]:
    """The runs of a part; where an earlier one has taken a name, a digest tells them apart.

    So that neither an override nor a part that is added renames the records that are there.
    """
    sweep, entries = load_sweep(part.config), []
    names = dict(zip(map(id, sweep), names_of(sweep), strict=True))
    seed = [text.partition("=")[2] for text in part.overrides if text.startswith("seed=")]
    for changes in select(sweep, part.filters):
        shown = {**changes, "seed": changes.get("seed", *seed)} if seed else changes
        name = name_in_table(part.config, shown)
        other = taken.get(name.lower())
        if other is not None and other.part.overrides != part.overrides:
            name = name_in_table(part.config, shown, part.overrides)
        if name.lower() in taken:
            raise UsageError(f"two runs have the name {name}; each may be wanted once")
        entries.append(Entry(table, part, names[id(changes)], changes, name))
        taken[name.lower()] = entries[-1]
    return entries
