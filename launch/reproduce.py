"""Carries out the missing runs of a paper's table or figure, and files a record of each.

  python -m launch.reproduce --list
  python -m launch.reproduce sfvae-table4 --budget=120

--list shows every table and figure of the five papers: its config files, how many of its runs have
a record, how long a run takes on this machine and what prevents the others; with a TABLE, its runs.
--plan shows the missing runs of all tables, or of a TABLE, in the order in which they are carried
out: by the time they take, multiplied by n for the n-th seed of a method.
TABLE carries out the missing runs of that table, --all those of all tables. A run has the workdir
DIR/TABLE/NAME; as soon as it is finished, its record RECORDS/TABLE/NAME.json is written.
--filter='objective.name=sampling*' carries out, or plans, only the runs whose settings match, as in
launch.sweep. It knows the settings that a table or its sweep changes, and the config file with its
preset: --filter='config=*:laptop' chooses the runs of the small presets.
--write-docs writes the results pages from the records.

The same command goes on where it was stopped. A run that has a record is not repeated, unless the
record is stale because the table now asks for other settings. --budget=MINUTES stops the command as
Ctrl-C does: the active runs save what they have reached. The measures after training are not saved
in between, so the budget must be longer than the measures of one run take.

Exit status: 0 if every chosen run that is possible here has a record, 1 if a run failed or none is
possible here, 2 for a usage error, 3 if the budget is over and runs are left, 130, 143 or 129 if
stopped by SIGINT, SIGTERM or SIGHUP.
"""

from __future__ import annotations

from sfvae_jax.runtime.signals import let_interrupts_end_the_process

if __name__ == "__main__":
    let_interrupts_end_the_process()  # before JAX is imported, which takes seconds

import argparse
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launch.command import fail, make_folder, say_failed, status_of
from launch.flags import parse_reproduce
from sfvae_jax.errors import RunError, UsageError, listed, unknown_name
from sfvae_jax.paths import local_path, shown
from sfvae_jax.runtime.output import prepare, say

if TYPE_CHECKING:
    from launch.ledger.entries import Entry
    from launch.ledger.plan import Price
    from launch.ledger.records import Filed
    from launch.ledger.table import Table
    from launch.ledger.work import Work

_BUDGET_OVER = 3


def main(argv: list[str]) -> int:
    """Runs the command with these arguments; returns the exit status."""
    began = time.monotonic()
    return status_of(lambda: _reproduce(parse_reproduce(argv, __doc__), began))


def _reproduce(flags: argparse.Namespace, began: float) -> int:
    # Imported here so that errors in flags need not wait for JAX.
    from launch.ledger.tables import TABLES

    records = local_path(flags.records, "--records")
    tables = _named(flags.table, TABLES)
    if flags.write_docs:
        return _write_docs(records)
    if flags.list:
        return _list(tables, records, one=bool(flags.table))
    if flags.plan:
        return _plan(tables, records, flags.filter)
    return _carry_out(flags, tables, records, began)


def _named(name: str | None, tables: Sequence[Table]) -> Sequence[Table]:
    if name is None:
        return tables
    found = [table for table in tables if table.name == name]
    if not found:
        raise unknown_name("table", name, [table.name for table in tables])
    return found


def _accounts(
    tables: Sequence[Table], records: Path, speed: float
) -> tuple[list[tuple[Table, list[Filed]]], dict[Entry, Price]]:
    """Returns the runs of each table with their records, and their prices at this speed."""
    from launch.ledger.plan import prices
    from launch.ledger.records import look_up_all

    accounts = [(table, look_up_all(table, records)) for table in tables]
    price: dict[Entry, Price] = {}
    for _, filed in accounts:
        price |= prices(filed, speed)
    return accounts, price


def _list(tables: Sequence[Table], records: Path, *, one: bool) -> int:
    from launch.ledger import listing
    from launch.ledger.calibration import calibration
    from launch.ledger.obstacles import Obstacles
    from launch.ledger.records import left_over

    accounts, price = _accounts(tables, records, calibration())
    if not one:
        say(listing.overview(accounts, price))
        return 0
    ((table, filed),) = accounts
    obstacles = Obstacles()
    in_the_way = {f.entry: obstacles.of(f.entry) for f in filed if not f.is_there}
    say(listing.of_table(table, filed, price, in_the_way, left_over(filed, records / table.name)))
    return 0


def _chosen(filed: Sequence[Filed], filters: Sequence[str]) -> Sequence[Filed]:
    """Returns the runs that `--filter` chooses."""
    from launch.runs import select_runs

    return select_runs(filed, filters, lambda one: one.entry.settings) if filters else filed


def _to_do(
    filed: Sequence[Filed], chosen: Sequence[Filed], price: dict[Entry, Price]
) -> list[Entry]:
    """Returns the chosen runs without a record, in the order that they have among all."""
    from launch.ledger.plan import in_order

    wanted = {one.entry for one in chosen}
    return [entry for entry in in_order(filed, price) if entry in wanted]


def _plan(tables: Sequence[Table], records: Path, filters: Sequence[str]) -> int:
    from launch.ledger import listing
    from launch.ledger.calibration import calibration
    from launch.ledger.obstacles import Obstacles

    accounts, price = _accounts(tables, records, calibration())
    obstacles = Obstacles()
    filed = [one for _, of_table in accounts for one in of_table]
    entries = _to_do(filed, _chosen(filed, filters), price)
    reasons = {entry.path: obstacles.of(entry) for entry in entries}
    skipped = {path: reason for path, reason in reasons.items() if reason}
    say(listing.of_plan([e for e in entries if e.path not in skipped], price, skipped))
    return 0


def _write_docs(records: Path) -> int:
    from launch.ledger.pages.writing import write_pages

    for path in write_pages(records.parent):
        say(f"wrote {shown(path)}")
    return 0


def _carry_out(
    flags: argparse.Namespace, tables: Sequence[Table], records: Path, began: float
) -> int:
    from launch.backends import ray_cluster
    from launch.backends.choice import backend_of
    from launch.ledger.calibration import calibration
    from launch.ledger.work import do, work_on

    if flags.backend == "ray":
        ray_cluster.check_installed()
    folder = local_path(flags.workdir, "--workdir")
    speed = calibration()
    accounts, price = _accounts(tables, records, speed)
    filed = [one for _, of_table in accounts for one in of_table]
    if flags.table and not filed:
        raise UsageError(f"{flags.table} has no runs. {tables[0].obstacle}")
    chosen = _chosen(filed, flags.filter)
    problems = {one.entry.path: one.problem for one in chosen if one.problem}
    _say_by_reason("records left out", problems)
    work = work_on(_to_do(filed, chosen, price), price, folder)
    _say_by_reason("skipped", work.skipped)
    logs = folder / "logs"
    for run in work.runs:
        _make_writable((logs / run.name).parent, "--workdir")
    _make_writable(records, "--records")
    deadline = began + 60 * flags.budget if flags.budget else math.inf
    do(
        work,
        lambda to_do: backend_of(flags, to_do, logs),
        records=records,
        calibration=speed,
        deadline=deadline,
    )
    return _summarize(work, logs, num_there=sum(one.is_there for one in chosen))


def _make_writable(folder: Path, flag: str) -> None:
    make_folder(folder, flag)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {folder}: it is not writable; change {flag}")


def _say_by_reason(kind: str, reasons: Mapping[str, str]) -> None:
    """Prints a line for each reason, with one of the names."""
    from launch.ledger.listing import by_reason

    for reason, names in by_reason(reasons).items():
        say(f"{kind}: {listed(names, 1)}: {reason}", sys.stderr)


def _summarize(work: Work, logs: Path, *, num_there: int) -> int:
    """Prints what became of the runs; returns the exit status."""
    outcome = work.outcome
    say_failed(outcome.failed, logs)
    there, wanted = num_there + len(work.filed), num_there + len(work.runs) + len(work.skipped)
    counts = f"{there} of {wanted} runs have records, {len(outcome.failed)} failed"
    counts += f", {len(work.skipped)} cannot be carried out here" * bool(work.skipped)
    if outcome.interrupted_by:
        return fail(f"stopped; {counts}; the same command continues", 128 + outcome.interrupted_by)
    if outcome.is_late and work.num_left:
        say(f"the budget is over; {counts}; the same command continues", sys.stderr)
        return _BUDGET_OVER
    if outcome.failed:
        return fail(f"{counts}; the same command tries them again", RunError.exit_status)
    if not there:
        return fail(counts, RunError.exit_status)
    say(counts, sys.stderr)
    return 0


if __name__ == "__main__":
    prepare()
    sys.exit(main(sys.argv[1:]))
