"""What an implementation hands over to be measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from benchmarks.measuring.timing import seconds_of


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A step that is ready to be called, and what is known of it before it runs.

    Attributes:
        call: takes the step and returns its results once they are there.
        flops: counted; see `flops.count_flops` and `torch_step.prepare` for what is in them.
        peak_bytes: memory that the step needs, its arguments and results included.
        compile_seconds: what compiling took, from nothing; None where nothing is compiled.
        note: what a reader must know of these.
        runs: whether the machine has the memory.
    """

    call: Callable[[], Any]
    flops: int
    peak_bytes: int
    compile_seconds: float | None
    note: str = ""
    runs: bool = True

    def seconds(self) -> float:
        """Takes the step; how long it took."""
        return seconds_of(self.call)
