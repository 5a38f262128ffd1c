"""metrics.jsonl: a JSON object a line; a killed process may have cut the last one short."""

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
    """The records in the order of their steps, and how many lines are damaged.

    Of several records of one step the last one is taken. A last line that was cut short is no
    damage.

    Raises:
        OSError: if the file is there and cannot be read.
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
    """Replaces the file by one of these records, whole or not at all."""
    write_text(path, _lines(records))


def append(path: Path, records: Iterable[Record]) -> None:
    """Adds one line a record, in the place of a last line that was cut short."""
    lines = _lines(records)
    with path.open("a+b") as file:
        _cut_short_line(file)
        file.write(lines.encode())


def sync(path: Path) -> None:
    """Has what was appended stay when the machine fails."""
    if path.exists():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def lacking(
    records: Sequence[Record], up_to: int, is_recorded: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, int]:
    """How many records there should be up to a step and are not, and the step of the first.

    Args:
        records: of the file.
        up_to: the last step that was taken.
        is_recorded: whether there should be a record of each of several steps.
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
    """What a line holds; None for one that was cut short or damaged."""
    try:
        record = parse_json(line, finite=False)
    except ValueError:
        return None
    if not isinstance(record, dict) or not all(map(is_number, record.values())):
        return None
    step = record.get("step")
    return record if isinstance(step, int) and step >= 0 else None


def _cut_short_line(file: BinaryIO) -> None:
    """Cuts a file open for appending back to its last whole line."""
    if not file.tell():
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
