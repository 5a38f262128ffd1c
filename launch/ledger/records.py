"""The records of a table: which runs have one, and which records are damaged or stale."""

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
from sfvae_jax.runs.published import uses, with_differences
from sfvae_jax.runtime.files import read_json

_OPEN: tuple[Any, ...] = (None, "", [])  # defaults that are filled in from the other settings
_PLACES = ("in the record", "in the table")
_MOST_NAMED = 2  # settings that are named when a record is stale


@dataclasses.dataclass(frozen=True)
class Filed:
    """A run, with its record if there is a valid one.

    Attributes:
        entry: the run.
        record: None if there is no record, or if it is not valid for the run as the table now
            describes it.
        problem: what is wrong with the existing record; "" if nothing is.
        lacks: "lacks ...", what the table now measures and the record does not have; the record
            is valid nevertheless.
    """

    entry: Entry
    record: Record | None = None
    problem: str = ""
    lacks: str = ""

    @property
    def is_there(self) -> bool:
        """Whether nothing remains to be done for this run."""
        return self.record is not None and not self.lacks


def look_up_all(table: Table, records: Path) -> list[Filed]:
    """Returns the record of each run of a table, in its order.

    Args:
        table: one of the ledger.
        records: the folder of all records.

    Raises:
        UsageError: if a run of the table cannot be made.
    """
    return [look_up(entry, records) for entry in entries_of(table)]


def look_up(entry: Entry, records: Path) -> Filed:
    """Returns the record of a run. Problems are part of the result; nothing is raised."""
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
        number = len(changed) - _MOST_NAMED
        more = f" and {number} more" if number > 0 else ""
        return Filed(entry, problem=f"stale: {'; '.join(changed[:_MOST_NAMED])}{more}")
    return Filed(entry, record, lacks=_lacks(record, entry))


def path_of(entry: Entry, records: Path) -> Path:
    """Returns the path of a run's record."""
    return records / entry.table / f"{entry.name}.json"


def left_over(filed: Sequence[Filed], folder: Path) -> list[str]:
    """Returns the files in a table's folder of records that belong to none of its runs.

    Args:
        filed: all runs of the table.
        folder: the folder of its records.
    """
    wanted = {f"{one.entry.name}.json" for one in filed}
    return sorted(path.name for path in folder.glob("*.json") if path.name not in wanted)


def _changes(record: Mapping[str, Any], entry: Entry) -> list[str]:
    """Describes the settings that have changed since the record was made.

    A key that did not exist then counts as having its default.

    Raises:
        UsageError: if the run cannot be made.
    """
    now, recorded = settings_of(entry.config), dict(record["settings"])
    for key in now.keys() - recorded.keys():
        default = without_folders(defaults().get(key))
        recorded[key] = now[key] if default in _OPEN else default
    common = set(record["evaluations"]) & set(entry.config.evaluations.names)
    taken = {"evaluations.names": common, **dict.fromkeys((*now, *recorded))}
    return differences(recorded, now, lambda key: uses(taken, key), _PLACES)


def _lacks(record: Mapping[str, Any], entry: Entry) -> str:
    wanted, history = entry.config.evaluations, record.get("history", {})
    last = record.get("ended_at", record["step"])  # of one that stopped early
    names = [name for name in wanted.names if name not in record["evaluations"]]
    steps = [str(step) for step in not_measured(history, wanted.steps, last)]
    missing = [f"evaluations {', '.join(names)}"] if names else []
    missing += [f"measures of steps {', '.join(steps)}"] if steps else []
    return f"lacks {' and '.join(missing)}" if missing else ""


def as_run(entry: Entry, record: Record) -> Record:
    """Returns a valid record in the form in which `read_run` gives a run.

    "config" and "published" are taken from the current configuration, which a valid record agrees
    with. Two entries are added: "name", the run's name in the sweep, and "setting", the part's.
    """
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
