"""metrics.jsonl: one JSON object a line; a killed process may cut the last line short."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sfvae_jax.runs.files.results_file import is_number
from sfvae_jax.runtime.files import parse_json, read_regular, write_text

Record = dict[str, Any]

_STEPS_AT_A_TIME = 2**20


def read(path: Path) -> tuple[list[Record], int]:
    """Reads the records, in the order of their steps, and counts the damaged lines.

    Of several records of one step the last one counts. A last line that was cut short does not
    count as damaged.

    Raises:
        OSError: if the file exists and cannot be read.
    """
    try:
        lines = read_regular(path).split(b"\n")
    except FileNotFoundError:
        return [], 0
    *lines, last = lines
    found = [_record(line) for line in lines]
    whole = {record["step"]: record for record in (*found, _record(last)) if record is not None}
    return [whole[step] for step in sorted(whole)], found.count(None)


def write(path: Path, records: Iterable[Record]) -> None:
    """Replaces the file with one of these records, whole or not at all."""
    write_text(path, _lines(records))


def append(path: Path, records: Iterable[Record]) -> None:
    """Adds one line for each record; they replace a last line that was cut short."""
    lines = _lines(records)
    with path.open("a+b") as file:
        _cut_short_line(file)
        file.write(lines.encode())


def sync(path: Path) -> None:
    """Makes what was appended survive a failure of the machine."""
    if path.exists():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def lacking(
    records: Sequence[Record], up_to: int, is_recorded: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, int]:
    """Counts the records that are missing up to a step, and returns the step of the first.

    Args:
        records: those of the file.
        up_to: the last step that was taken.
        is_recorded: whether there should be records of these steps.
    """
    found = np.array([record["step"] for record in records], np.int64)
    number, first = 0, 0
    for begin in range(1, up_to + 1, _STEPS_AT_A_TIME):
        steps = np.arange(begin, min(begin + _STEPS_AT_A_TIME, up_to + 1))
        lost = np.setdiff1d(steps[is_recorded(steps)], found)
        number += len(lost)
        first = first or int(lost[0] if len(lost) else 0)
    return number, first


def _lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _record(line: bytes) -> Record | None:
    """Parses a line; None if it was cut short or damaged."""
    try:
        record = parse_json(line, finite=False)
    except ValueError:
        return None
    if not isinstance(record, dict) or not all(map(is_number, record.values())):
        return None
    step = record.get("step")
    return record if isinstance(step, int) and step >= 0 else None


def _cut_short_line(file: BinaryIO) -> None:
    """Truncates a file that is open for appending after its last whole line."""
    if not file.tell():
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
