"""The estimated time of each run on this machine, and the order of the missing runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from statistics import mean

from launch.ledger.entries import Entry
from launch.ledger.records import Filed

_CORES = 2  # on which `Part.hours` is estimated
_SECONDS_A_HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class Price:
    """The processor time that a run takes here.

    Attributes:
        seconds: an estimate; infinite if nothing is known.
        is_measured: whether the estimate comes from recorded runs of the same method.
    """

    seconds: float = math.inf
    is_measured: bool = False


def prices(filed: Sequence[Filed], calibration: float | None) -> dict[Entry, Price]:
    """Returns the estimated time of each run of a table on this machine.

    It is the mean time of recorded runs of the same method, each scaled by the calibrations of the
    two machines. For a method without a record it is the hours of its part.

    Args:
        filed: all runs of the table.
        calibration: the calibration of this machine; None to leave times as they were recorded.
    """
    took: dict[tuple[object, ...], list[float]] = {}
    for one in filed:
        seconds = _scaled(one, calibration)
        if seconds is not None:
            took.setdefault(one.entry.method, []).append(seconds)
    return {one.entry: _price(one.entry, took) for one in filed}


def hours(filed: Sequence[Filed], entries: Iterable[Entry]) -> float:
    """Returns how many hours some runs of a table take on two cores of the recording machines.

    Args:
        filed: all runs of the table.
        entries: the runs to add up; a run of unknown time counts as zero.
    """
    price = prices(filed, None)
    seconds = [price[entry].seconds for entry in entries]
    return sum(filter(math.isfinite, seconds)) / _CORES / _SECONDS_A_HOUR


def in_order(filed: Iterable[Filed], price: dict[Entry, Price]) -> list[Entry]:
    """Returns the runs that still have to be carried out, cheapest evidence first.

    The n-th seed of a method tells about an n-th as much as its first, so runs are ordered by their
    price times n. Runs of unknown price come last.

    Args:
        filed: all runs of some tables, including those with records.
        price: the estimated time of each run.
    """
    number: dict[tuple[object, ...], int] = {}
    costs: list[tuple[float, int, Entry]] = []
    filed = list(filed)
    for one in filed:
        if one.is_there:
            key = (one.entry.table, *one.entry.method)
            number[key] = number.get(key, 0) + 1
    for one in filed:
        if one.is_there:
            continue
        key = (one.entry.table, *one.entry.method)
        number[key] = number.get(key, 0) + 1
        costs.append((price[one.entry].seconds * number[key], number[key], one.entry))
    return [entry for *_, entry in sorted(costs, key=lambda cost: cost[:2])]


def _scaled(filed: Filed, calibration: float | None) -> float | None:
    """Returns a run's time scaled to this machine; None if unknown or if it had an accelerator."""
    record = filed.record
    if record is None or record["processor_seconds"] is None:
        return None
    if any(piece["machine"]["accelerator"] for piece in record["pieces"]):
        return None
    shares = max((piece["processes"] for piece in record["pieces"]), default=1)
    there = record["calibration"]
    scale = calibration / there if calibration and there else 1.0
    return record["processor_seconds"] * shares * scale


def _price(entry: Entry, took: dict[tuple[object, ...], list[float]]) -> Price:
    if entry.method in took:
        return Price(mean(took[entry.method]), is_measured=True)
    hours = entry.part.hours
    return Price() if hours is None else Price(hours * _CORES * _SECONDS_A_HOUR)
