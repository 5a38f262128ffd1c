"""What a run takes on this machine, and in which order the missing runs are carried out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from statistics import mean

from launch.ledger.entries import Entry
from launch.ledger.records import Filed

_CORES = 2  # those that the hours of a part are of
_SECONDS_A_HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class Price:
    """The processor time that a run takes here.

    Attributes:
        seconds: an estimate; infinite where nothing is known.
        is_measured: whether runs with other seeds, or this one, took it, scaled to this machine.
    """

    seconds: float = math.inf
    is_measured: bool = False


def prices(filed: Sequence[Filed], calibration: float | None) -> dict[Entry, Price]:
    """What each run of a table takes on this machine.

    That is the mean of what runs of the same method took, by the calibrations of their machines; of
    a method without a record, what its part's hours say.

    Args:
        filed: all runs of the table.
        calibration: of this machine; None: as on the machines of the records.
    """
    took: dict[tuple[object, ...], list[float]] = {}
    for one in filed:
        seconds = _scaled(one, calibration)
        if seconds is not None:
            took.setdefault(one.entry.method, []).append(seconds)
    return {one.entry: _price(one.entry, took) for one in filed}


def hours(filed: Sequence[Filed], entries: Iterable[Entry]) -> float:
    """What some runs of a table take on two cores, on the machines of its records.

    Args:
        filed: all runs of the table.
        entries: those that count; one of unknown time counts as nothing.
    """
    price = prices(filed, None)
    seconds = [price[entry].seconds for entry in entries]
    return sum(filter(math.isfinite, seconds)) / _CORES / _SECONDS_A_HOUR


def in_order(filed: Iterable[Filed], price: dict[Entry, Price]) -> list[Entry]:
    """The runs of which something is missing, cheapest evidence first.

    The n-th seed of a method tells about an n-th as much as its first one does: the runs go by
    their price times n. Those of unknown price come last.

    Args:
        filed: all runs of some tables, those with records too.
        price: of each.
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
    """What a run took, on this machine; None where it is not known, or an accelerator helped."""
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
