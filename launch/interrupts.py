"""SIGINT and SIGTERM as something to look at between two steps, and not in the midst of one."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Counts SIGINT and SIGTERM instead of ending the process. A context manager."""

    def __init__(self) -> None:
        self.count = 0
        self.first: int | None = None  # which signal it was

    def __enter__(self) -> Self:
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *unused: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.first = self.first or number
