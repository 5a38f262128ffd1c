"""What ends a sweep early, signals and a deadline, to look at between two steps of it."""

from __future__ import annotations

import math
import signal
import time
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP instead of ending the process. A context manager.

    SIGHUP that is ignored already, as by nohup, stays so. A deadline that has passed counts as the
    first signal, whether or not that came too.

    Attributes:
        heeded: how many the sweep has acted upon.
        first: which signal came first; None: none did.
    """

    def __init__(self, deadline: float = math.inf) -> None:
        """Takes the deadline, on the clock of `time.monotonic`."""
        self.heeded = 0
        self.first: int | None = None
        self._received, self._deadline = 0, deadline

    @property
    def count(self) -> int:
        """How many there have been."""
        return max(self._received, int(self.is_late))

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._deadline

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
        self._received += 1
        self.first = self.first or number
