"""Which runs of a table have records, which are missing, and what the missing ones take."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from launch.ledger.entries import Entry
from launch.ledger.plan import hours
from launch.ledger.record import Record
from launch.ledger.records import Filed, as_run, left_over, look_up_all
from launch.ledger.table import Table


@dataclasses.dataclass(frozen=True)
class Account:
    """The runs of a table and its records.

    Attributes:
        filed: every run, with its record.
        left_over: the files in the table's folder of records that belong to no run.
    """

    filed: tuple[Filed, ...]
    left_over: tuple[str, ...]

    @functools.cached_property
    def records(self) -> tuple[Record, ...]:
        """The valid records, in the form of `read_run` and in the order of `filed`."""
        return tuple(as_run(one.entry, one.record) for one in self.filed if one.record is not None)

    @property
    def missing(self) -> list[Entry]:
        """The runs without a valid record."""
        return [one.entry for one in self.filed if one.record is None]

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong with a record or missing in it, by its name."""
        found = {one.entry.name: one.problem or one.lacks for one in self.filed}
        return {name: problem for name, problem in found.items() if problem}

    def by_setting(self) -> dict[str, list[Record]]:
        """Groups the records by `Part.setting`, which is "" for the paper's own setting."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record["setting"], []).append(record)
        return found

    def hours_missing(self) -> float:
        """Returns how many hours the missing runs take on two cores of the recording machines."""
        return hours(self.filed, self.missing)


def account_of(table: Table, records: Path) -> Account:
    """Returns the account of a table.

    Args:
        table: one of the ledger.
        records: the folder of all records.

    Raises:
        UsageError: if the runs of the table cannot be named.
    """
    filed = tuple(look_up_all(table, records))
    return Account(filed, tuple(left_over(filed, records / table.name)))
