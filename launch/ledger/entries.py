"""The runs of a table, each with the name of its record and of its workdir."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import ml_collections

from launch.configs import Overrides, load_sweep
from launch.ledger.table import Part, Table
from launch.runs import Run, make_run, select
from sfvae_jax.errors import UsageError
from sfvae_jax.runs.run_names import name_in_table, names_of


@dataclasses.dataclass(eq=False)
class Entry:
    """One run of a table. Its configuration is made when it is first needed.

    Attributes:
        table: the name of the table.
        part: the part of the table that it belongs to.
        sweep_name: the run's name in the sweep of its config file.
        changes: what it changes as a run of the sweep.
        name: the name of its record and of its workdir, made of the config file, the preset and
            the changes.
    """

    table: str
    part: Part
    sweep_name: str
    changes: Overrides
    name: str

    @property
    def path(self) -> str:
        """TABLE/NAME, which is unique among the runs of all tables."""
        return f"{self.table}/{self.name}"

    @property
    def settings(self) -> Overrides:
        """What a filter knows: its config file, its part's overrides, and its own changes."""
        overrides = dict(text.split("=", 1) for text in self.part.overrides)
        return {"config": self.part.config, **overrides, **self.changes}

    @property
    def method(self) -> tuple[object, ...]:
        """What identifies the method: it is equal for runs that only differ in their seed."""
        own = {key: str(value) for key, value in self.changes.items() if key != "seed"}
        others = [text for text in self.part.overrides if not text.startswith("seed=")]
        return (self.part.config, *others, *own.items())

    @property
    def config(self) -> ml_collections.ConfigDict:
        """The resolved configuration.

        Raises:
            UsageError: if it cannot be run.
        """
        return self._run.config

    def run(self, folder: Path) -> Run:
        """Returns the run, with FOLDER/TABLE/NAME as its workdir.

        Raises:
            UsageError: if it cannot be run.
        """
        return dataclasses.replace(self._run, workdir=folder / self.path)

    @functools.cached_property
    def _run(self) -> Run:
        overrides = [f"--config.{text}" for text in self.part.overrides]
        return make_run(self.part.config, overrides, self.changes, self.path, Path())


def entries_of(table: Table) -> list[Entry]:
    """Returns every run of a table, in the table's order.

    Raises:
        UsageError: if a config file fails, a filter matches no run, or two runs share a name.
    """
    found: list[Entry] = []
    try:
        for part in table.parts:
            found += _of_part(table.name, part, {entry.name.lower(): entry for entry in found})
    except UsageError as error:
        raise UsageError(f"{table.name}: {error}") from error
    return found


def _of_part(table: str, part: Part, taken: dict[str, Entry]) -> list[Entry]:
    """Returns the runs of a part.

    Where a run of an earlier part already has the name, a digest is added to it. Adding an override
    or a part to a table therefore never renames existing records.
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
            raise UsageError(f"two runs have the name {name}; each run may occur only once")
        entries.append(Entry(table, part, names[id(changes)], changes, name))
        taken[name.lower()] = entries[-1]
    return entries
