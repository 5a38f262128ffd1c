"""Which runs of a table have records, which are missing, and what those that ended took."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from statistics import mean

from launch.ledger.entries import Entry, entries_of
from launch.ledger.record import Record
from launch.ledger.records import left_over, look_up, read_records
from launch.ledger.table import Table

_SECONDS_A_HOUR = 3600.0
_CORES = 2  # that the hours of a part are of


@dataclasses.dataclass(frozen=True)
class Account:
    """The runs that a table wants, and the records that it has.

    Attributes:
        wanted: every run.
        records: those that hold, as `read_records` gives them, in the order of `wanted`.
        problems: why a record that is there does not hold, or what it lacks, by its name.
        left_over: the files in the table's folder that are of no wanted run.
    """

    wanted: tuple[Entry, ...]
    records: tuple[Record, ...]
    problems: dict[str, str]
    left_over: tuple[str, ...]

    @property
    def missing(self) -> list[Entry]:
        """The wanted runs without a record that holds."""
        there = {record["run"] for record in self.records}
        return [entry for entry in self.wanted if entry.name not in there]

    def by_setting(self) -> dict[str, list[Record]]:
        """The records by what is smaller than the paper's, in words; empty for its own setting."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record["setting"], []).append(record)
        return found

    def hours_missing(self) -> float:
        """Of the missing runs on two cores: what their method took, or their part's estimate.

        The processor time counts, for the machine may have done other work besides.
        """
        methods = {entry.name: entry.method for entry in self.wanted}
        took: dict[tuple[object, ...], list[float]] = {}
        for record in self.records:
            if record["processor_seconds"] is not None:
                hours = record["processor_seconds"] / _CORES / _SECONDS_A_HOUR
                took.setdefault(methods[record["run"]], []).append(hours)
        return sum(
            mean(took[entry.method]) if entry.method in took else entry.part.hours or 0.0
            for entry in self.missing
        )


def account_of(table: Table, records: Path) -> Account:
    """The account of a table.

    Args:
        table: one of the ledger.
        records: the folder of all records.

    Raises:
        UsageError: if the runs of the table cannot be named.
    """
    wanted = tuple(entries_of(table))
    filed = {entry.name: look_up(entry, records) for entry in wanted}
    problems = {name: one.problem or one.lacks for name, one in filed.items()}
    return Account(
        wanted=wanted,
        records=tuple(read_records(table, records)),
        problems={name: problem for name, problem in problems.items() if problem},
        left_over=tuple(left_over(table, records)),
    )
