"""What `launch.reproduce` prints about the ledger: all tables, one table, or the plan."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from launch.ledger.entries import Entry
from launch.ledger.plan import Price
from launch.ledger.records import Filed
from launch.ledger.table import Table
from launch.ledger.times import between, duration
from sfvae_jax.errors import listed

_UNKNOWN = "unknown"
_NARROWEST = 60
_TIMES = (
    "Times are estimates of the processor time that one run takes on this machine: the time of"
    " recorded runs of the same method, scaled by the speed of this machine. A ~ marks a guess for"
    " a method without a record. On N idle cores a run takes an N-th of that time or longer."
)


def overview(
    accounts: Sequence[tuple[Table, Sequence[Filed]]], price: Mapping[Entry, Price]
) -> str:
    """Describes each table in a few lines: records, estimated times, and what is in the way."""
    rows = [["name", "records", "per run"]]
    for table, filed in accounts:
        rows.append([table.name, _counts(filed), _range([price[one.entry] for one in filed])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    heads = [_row(row, widths) for row in rows]
    lines = [heads[0]]
    for head, (table, filed) in zip(heads[1:], accounts, strict=True):
        lines += ["", head, *_indented(_about(table, filed))]
    return "\n".join([*lines, "", _wrapped(_TIMES), *_totals(accounts, price)])


def of_table(
    table: Table,
    filed: Sequence[Filed],
    price: Mapping[Entry, Price],
    obstacles: Mapping[Entry, str],
    left_over: Sequence[str],
) -> str:
    """Describes one table, with a line for each of its runs.

    Args:
        table: the table.
        filed: its runs.
        price: the estimated time of each run.
        obstacles: why some runs cannot be carried out here.
        left_over: the files in its folder of records that belong to none of its runs.
    """
    head = f"{table.name}: {_counts(filed)} records" if table.parts else table.name
    lines = [head, *_indented(_about(table, filed))]
    if filed:
        rows = [[_state(one), priced(price[one.entry]), one.entry.name] for one in filed]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines.append("")
        for row, one in zip(rows, filed, strict=True):
            lines.append(_row(row, widths))
            notes = (one.problem, one.lacks, obstacles.get(one.entry, ""))
            lines += _indented([note for note in notes if note])
    lines += [f"{name} belongs to no run of this table" for name in left_over]
    return "\n".join([*lines, "", _wrapped(_TIMES)]) if filed else "\n".join(lines)


def of_plan(
    entries: Sequence[Entry], price: Mapping[Entry, Price], skipped: Mapping[str, str]
) -> str:
    """Lists the missing runs in their order, with cumulative times; then those that cannot run.

    Args:
        entries: the runs that can be carried out.
        price: the estimated time of each run.
        skipped: why other runs cannot be carried out, by their names.
    """
    if not entries and not skipped:
        return "No record is missing."
    rows, total = [["per run", "in total", "run"]], 0.0
    for entry in entries:
        total += price[entry].seconds
        rows.append([priced(price[entry]), priced(Price(total, is_measured=True)), entry.path])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_row(row, widths) for row in rows] if entries else []
    if skipped:
        lines += ["", "These cannot be carried out here:"]
    for reason, names in by_reason(skipped).items():
        lines += [listed(names, 1), *_indented([reason])]
    return "\n".join([*lines, "", _wrapped(_TIMES)])


def priced(price: Price) -> str:
    """Formats the time of a run, with a ~ before a guess."""
    if not math.isfinite(price.seconds):
        return _UNKNOWN
    return f"{'' if price.is_measured else '~'}{duration(price.seconds)}"


def by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Groups names by the reason that is given for them."""
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        found.setdefault(reason, []).append(name)
    return found


def _counts(filed: Sequence[Filed]) -> str:
    return f"{sum(one.is_there for one in filed)}/{len(filed)}" if filed else "-"


def _range(prices: Sequence[Price]) -> str:
    """Formats the shortest and the longest time."""
    if not prices:
        return "-"
    known = sorted((p for p in prices if math.isfinite(p.seconds)), key=lambda p: p.seconds)
    if not known:
        return _UNKNOWN
    least, most = priced(known[0]), priced(known[-1])
    return least if least == most else between(least, most)


def _about(table: Table, filed: Sequence[Filed]) -> list[str]:
    """Says what a table consists of and what prevents its runs."""
    lines = [table.title]
    for config in dict.fromkeys(part.config for part in table.parts):
        runs = sum(one.entry.part.config == config for one in filed)
        lines.append(f"{config}: {runs} run{'s' * (runs != 1)} of its sweep")
    lines += [
        f"smaller than the paper's: {setting}"
        for setting in dict.fromkeys(part.setting for part in table.parts if part.setting)
    ]
    kinds = ("damaged", "stale", "cannot be checked")
    for kind in kinds:
        number = sum(one.problem.startswith(kind) for one in filed)
        if number:
            lines.append(f"{number} record{'s' * (number != 1)} left out: {kind}")
    number = sum(bool(one.lacks) for one in filed)
    if number:
        what = "record lacks" if number == 1 else "records lack"
        lines.append(f"{number} {what} measures that the table needs now")
    return [*lines, table.obstacle] if table.obstacle else lines


def _totals(
    accounts: Sequence[tuple[Table, Sequence[Filed]]], price: Mapping[Entry, Price]
) -> list[str]:
    filed = [one for _, runs in accounts for one in runs]
    left = [price[one.entry].seconds for one in filed if not one.is_there]
    known = sum(seconds for seconds in left if math.isfinite(seconds))
    unknown = sum(not math.isfinite(seconds) for seconds in left)
    beside = f", and {unknown} of unknown time" if unknown else ""
    return [
        _wrapped(
            f"{len(accounts)} tables and figures, {_counts(filed)} runs have records; the"
            f" missing ones take an estimated {duration(known)} of processor time{beside}."
        )
    ]


def _state(filed: Filed) -> str:
    if filed.problem:
        return filed.problem.partition(":")[0]
    if filed.record is None:
        return "missing"
    return "lacks measures" if filed.lacks else "filed"


def _row(cells: Iterable[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(padded).rstrip()


def _indented(texts: Sequence[str]) -> list[str]:
    return [_wrapped(text, "    ") for text in texts]


def _wrapped(text: str, indent: str = "") -> str:
    width = max(shutil.get_terminal_size().columns, _NARROWEST)
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )
