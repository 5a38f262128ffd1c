"""Which runs of a table have records, which are missing, and what those that ended took."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from launch.ledger.entries import Entry
from launch.ledger.plan import hours
from launch.ledger.record import Record
from launch.ledger.records import Filed, as_run, left_over, look_up_all
from launch.ledger.table import Table


@dataclasses.dataclass(frozen=True)
class Account:
    """The runs that a table wants, and the records that it has.

    Attributes:
        filed: every wanted run, with its record.
        records: those that hold, as `read_records` gives them, in the order of `filed`.
        left_over: the files in the table's folder that are of no wanted run.
    """

    filed: tuple[Filed, ...]
    records: tuple[Record, ...]
    left_over: tuple[str, ...]

    @property
    def missing(self) -> list[Entry]:
        """The wanted runs without a record that holds."""
        return [one.entry for one in self.filed if one.record is None]

    @property
    def problems(self) -> dict[str, str]:
        """Why a record that is there does not hold, or what it lacks, by its name."""
        told = {one.entry.name: one.problem or one.lacks for one in self.filed}
        return {name: problem for name, problem in told.items() if problem}

    def by_setting(self) -> dict[str, list[Record]]:
        """The records by what is smaller than the paper's, in words; empty for its own setting."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record["setting"], []).append(record)
        return found

    def hours_missing(self) -> float:
        """What the missing runs take on two cores, on the machines of the records."""
        return hours(self.filed, self.missing)


def account_of(table: Table, records: Path) -> Account:
    """The account of a table.

    Args:
        table: one of the ledger.
        records: the folder of all records.

    Raises:
        UsageError: if the runs of the table cannot be named.
    """
    filed = tuple(look_up_all(table, records))
    return Account(
        filed=filed,
        records=tuple(as_run(one) for one in filed if one.record is not None),
        left_over=tuple(left_over(filed, records / table.name)),
    )
