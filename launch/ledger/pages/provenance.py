"""How the records of a table were made: command, seeds, times, machines, versions, commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from launch.ledger.pages.account import Account
from launch.ledger.record import Record
from launch.ledger.table import Table
from launch.ledger.times import between, duration
from sfvae_jax.reporting.markdown import code, prose

_MOST_NAMES = 6  # missing runs that are named; more are only counted
_MOST_COMMITS = 3  # that are named; each record has its own
_DIGITS = 10  # of a commit
_PACKAGES = ("python", "jax", "flax")


def how_made(table: Table, account: Account) -> str:
    """Returns a list in Markdown: the command, the records, how they were made, what is missing."""
    lines = [f"`python -m launch.reproduce {table.name}`"]
    if account.records:
        lines += [_counted(account), *_made_by(account.records)]
    if account.missing:
        lines.append(_missing(account))
    lines += [f"{code(name)}: {prose(problem)}." for name, problem in account.problems.items()]
    if account.left_over:
        lines.append(f"Records of runs that the table no longer has: {_names(account.left_over)}.")
    return "\n".join(f"- {line}" for line in lines)


def _counted(account: Account) -> str:
    seeds = sorted({record["config"]["seed"] for record in account.records})
    runs = f"{len(account.records)} of {_number(len(account.filed), 'run')}"
    line = f"{runs}, seed{'s' * (len(seeds) > 1)} {_spans(seeds)}"
    by_objective: dict[str, list[Record]] = {}
    for record in account.records:
        by_objective.setdefault(record["config"]["objective"]["name"], []).append(record)
    times = {name: _time_of(records) for name, records in by_objective.items()}
    if not all(times.values()):
        return f"{line}."
    if len(times) == 1:
        return f"{line}; {times.popitem()[1]}."
    each = "; ".join(f"{code(name)} {time}" for name, time in times.items())
    return f"{line}. Time: {each}."


def _time_of(records: Sequence[Record]) -> str:
    """Formats the median and the range of the times of runs; empty if none is known."""
    took, used = _known(records, "seconds"), _known(records, "processor_seconds")
    if not took:
        return ""
    spread = f" ({between(duration(took[0]), duration(took[-1]))})" if len(took) > 1 else ""
    of_processor = f", {duration(median(used))} of processor time" if used else ""
    return f"{duration(median(took))} per run{spread}{of_processor}"


def _known(records: Sequence[Record], key: str) -> list[float]:
    """Returns the known values in ascending order."""
    return sorted(record[key] for record in records if record[key] is not None)


def _made_by(records: Sequence[Record]) -> list[str]:
    pieces = [piece for record in records for piece in record["pieces"]]
    if not pieces:
        return []
    machines = _each(_machine(piece["machine"]) for piece in pieces)
    versions = [
        f"{name} {' and '.join(_each(piece['versions'].get(name, 'none') for piece in pieces))}"
        for name in _PACKAGES
    ]
    commits = _each(
        str(piece["commit"])[:_DIGITS] + " with changes" * bool(piece["changed"])
        for piece in pieces
        if piece["commit"]
    )
    more = f" and {len(commits) - _MOST_COMMITS} more" * (len(commits) > _MOST_COMMITS)
    named = ", ".join(commits[:_MOST_COMMITS])
    code_ = [f"commit{'s' * (len(commits) > 1)} {named}{more}"] if commits else []
    return ["; ".join([*machines, ", ".join(versions), *code_]) + "."]


def _machine(machine: Mapping[str, Any]) -> str:
    accelerator = f", {machine['accelerator']}" if machine["accelerator"] else ""
    return f"{prose(machine['processor'])}, {_number(machine['cores'], 'core')}{accelerator}"


def _missing(account: Account) -> str:
    missing = account.missing
    took = f"an estimated {duration(3600 * account.hours_missing())} on two cores"
    if not account.records:
        return f"No record yet: {_number(len(missing), 'run')}, {took}."
    names = f": {_names([entry.name for entry in missing])}" * (len(missing) <= _MOST_NAMES)
    return f"{_number(len(missing), 'run')} without a record, {took}{names}."


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(code, names))


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _spans(numbers: Sequence[int]) -> str:
    """Formats sorted numbers, as in "0", "0 to 9" or "0 to 2, 7"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{s[0]} to {s[-1]}" if len(s) > 1 else str(s[0]) for s in spans)


def _each(texts: Iterable[str]) -> list[str]:
    """Returns each text once, in the order of first occurrence."""
    return list(dict.fromkeys(texts))
