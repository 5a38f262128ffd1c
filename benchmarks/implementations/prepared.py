"""A step that an implementation has prepared for measuring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from benchmarks.measuring.timing import seconds_of


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A step that is ready to run, and what is known about it before it runs.

    Attributes:
        call: runs the step and returns its results when they are ready.
        flops: its operations; `flops.count_flops` and `torch_step.prepare` say what they include.
            None if the data decide.
        peak_bytes: the memory that the step needs, including its arguments and results.
        compile_seconds: how long compiling took, without caches; None if nothing is compiled.
        note: what a reader must know about these numbers.
        runs: whether the machine has enough memory.
    """

    call: Callable[[], Any]
    flops: int | None
    peak_bytes: int
    compile_seconds: float | None
    note: str = ""
    runs: bool = True

    def seconds(self) -> float:
        """Runs the step; returns how long it took."""
        return seconds_of(self.call)
