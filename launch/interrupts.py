"""Signals that end a sweep, as something to look at between two steps of it."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP instead of ending the process. A context manager.

    SIGHUP that is ignored already, as by nohup, stays so.
    """

    def __init__(self) -> None:
        self.count = 0
        self.heeded = 0  # how many of them the sweep has acted upon
        self.first: int | None = None  # which signal it was

    def __enter__(self) -> Self:
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signals.append(signal.SIGHUP)  # the terminal is gone
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *unused: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.first = self.first or number
