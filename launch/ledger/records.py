"""The records of a table: which runs have one, and which records say something else by now."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.ledger.entries import Entry, entries_of
from launch.ledger.record import Record, defaults, fault_of, settings_of, without_folders
from launch.ledger.table import Table
from sfvae_jax.errors import UsageError, in_one_line
from sfvae_jax.runs.files.config_file import differences, plain
from sfvae_jax.runs.files.results_file import not_measured
from sfvae_jax.runs.published import measures, with_differences
from sfvae_jax.runtime.files import read_json

_OPEN = (None, "", [])  # a default that the other settings decide
_PLACES = ("in the record", "in the table")
_MOST_NAMED = 2  # of the settings in which a record is stale


@dataclasses.dataclass(frozen=True)
class Filed:
    """What a folder of records has of a run.

    Attributes:
        entry: the run.
        record: None where there is none, or none that holds for the run as it is wanted now.
        problem: what is wrong with the one that is there; empty where nothing is.
        lacks: "lacks ...", what is measured now and was not then; the record holds all the same.
    """

    entry: Entry
    record: Record | None = None
    problem: str = ""
    lacks: str = ""

    @property
    def is_there(self) -> bool:
        """Whether nothing is left to be done for it."""
        return self.record is not None and not self.lacks


def read_records(table: Table, records: Path) -> list[Record]:
    """The records of the runs that a table wants, in its order, as `read_run` gives runs.

    Records that are damaged or stale are left out; `look_up_all` tells of them.

    Args:
        table: one of the ledger.
        records: the folder of all records.

    Raises:
        UsageError: if the runs of the table cannot be made.
    """
    return [as_run(filed) for filed in look_up_all(table, records) if filed.record is not None]


def look_up_all(table: Table, records: Path) -> list[Filed]:
    """The record of each run that a table wants, in its order.

    Args:
        table: one of the ledger.
        records: the folder of all records.

    Raises:
        UsageError: if the runs of the table cannot be made.
    """
    return [look_up(entry, records) for entry in entries_of(table)]


def look_up(entry: Entry, records: Path) -> Filed:
    """The record of a run, and what is wrong with it. Raises nothing: that is told."""
    path = path_of(entry, records)
    if not path.exists():
        return Filed(entry)
    try:
        record = read_json(path)
        fault = fault_of(record)
    except UsageError as error:
        fault = in_one_line(error).partition(f"{path}: ")[2] or in_one_line(error)
    if fault:
        return Filed(entry, problem=f"damaged: {fault}")
    try:
        changed = _changes(record, entry)
    except UsageError as error:
        return Filed(entry, problem=f"cannot be checked: {in_one_line(error)}")
    if changed:
        more = f" and {len(changed) - _MOST_NAMED} more" * (len(changed) > _MOST_NAMED)
        return Filed(entry, problem=f"stale: {'; '.join(changed[:_MOST_NAMED])}{more}")
    return Filed(entry, record, lacks=_lacks(record, entry))


def path_of(entry: Entry, records: Path) -> Path:
    """Where the record of a run is filed."""
    return records / entry.table / f"{entry.name}.json"


def left_over(filed: Sequence[Filed], folder: Path) -> list[str]:
    """The files in a table's folder of records that are of no run that it wants now.

    Args:
        filed: all runs of the table.
        folder: of its records.
    """
    wanted = {f"{one.entry.name}.json" for one in filed}
    return sorted(path.name for path in folder.glob("*.json") if path.name not in wanted)


def _changes(record: Mapping[str, Any], entry: Entry) -> list[str]:
    """In words, the settings that have changed since; a key that was not known had its default.

    Raises:
        UsageError: if the run cannot be made.
    """
    now, there = settings_of(entry.config), dict(record["settings"])
    for key in now.keys() - there.keys():
        default = without_folders(defaults().get(key))
        there[key] = now[key] if default in _OPEN else default
    common = set(record["evaluations"]) & set(entry.config.evaluations.names)
    taken = {"evaluations.names": common, **dict.fromkeys((*now, *there))}
    return differences(there, now, lambda key: measures(taken, key), _PLACES)


def _lacks(record: Mapping[str, Any], entry: Entry) -> str:
    wanted, history = entry.config.evaluations, record.get("history", {})
    last = record.get("ended_at", record["step"])  # of one that stopped early
    names = [name for name in wanted.names if name not in record["evaluations"]]
    steps = [str(step) for step in not_measured(history, wanted.steps, last)]
    told = [f"evaluations {', '.join(names)}"] if names else []
    told += [f"measures of steps {', '.join(steps)}"] if steps else []
    return f"lacks {' and '.join(told)}" if told else ""


def as_run(filed: Filed) -> Record:
    """A record that holds, as `read_run` gives a run.

    "config" is the whole configuration and "published" what is published, as they are now, which
    is as they were. Besides the entries of the record: "name" (in the sweep) and "setting" (of the
    part).
    """
    entry, record = filed.entry, filed.record
    config = plain(entry.config)
    config["data"]["fingerprint"] = record["fingerprint"]
    config["evaluations"]["names"] = record["evaluations"]
    published = json.loads(json.dumps(with_differences(entry.config)))
    return {
        **record,
        "config": config,
        "published": published,
        "name": entry.sweep_name,
        "setting": entry.part.setting,
    }
