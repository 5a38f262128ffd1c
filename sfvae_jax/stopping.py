"""SIGINT and SIGTERM: training finishes the call in flight and saves; all else ends at once."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from sfvae_jax.training import processes

log = logging.getLogger("sfvae_jax")


class Stopped(BaseException):
    """A signal asked the process to end.

    No `Exception`, as KeyboardInterrupt is none: nothing on the way takes it for a failure.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class StopSignals:
    """What SIGINT and SIGTERM do while it is entered, which only the main thread can."""

    def __init__(self) -> None:
        self._received = 0  # the number of the signal that came while they were deferred
        self._deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *unused: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Signals wait for the end of this context, which may ask `came` and end early.

        A second SIGINT does not wait, nor does any within `at_once`.

        Raises:
            Stopped: at its end, if there was one.
        """
        self._received, self._deferring = 0, True
        try:
            yield
        finally:
            self._deferring = False
        if self._received:
            raise Stopped(self._received)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `deferred`: signals do not wait here, where nothing would be lost.

        Raises:
            Stopped: at its beginning, if one came to any process of this run.
        """
        if self.came():
            raise Stopped(self._received)
        before, self._deferring = self._deferring, False
        try:
            yield
        finally:
            self._deferring = before

    def came(self) -> bool:
        """Whether one came to any process of this run before it asked; all have to ask."""
        received = int(processes.gathered(self._received).max())
        if received and not self._received:  # one that came meanwhile is not written over
            self._received = received
        return bool(received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        insists = number == signal.SIGINT == self._received
        if insists or not self._deferring:
            raise Stopped(number)
        first, self._received = not self._received, number
        if first:
            log.info("%s: saving after the call in flight", signal.Signals(number).name)
