"""SIGINT, SIGTERM, SIGHUP: training finishes the call in flight and saves; all else ends at once.

Python runs a signal's handler between two steps of the main thread, which may wait for XLA for
minutes, and an exception that a handler raises may come up in a callback, where it is lost. The
handlers here do nothing: the kernel's signal wakes a thread (`signal.set_wakeup_fd`), which sets a
flag for training to look at, or ends the process where nothing would be lost.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

log = logging.getLogger("sfvae_jax")

_OVER = 0  # in the place of a signal's number: the thread is no longer needed


def let_interrupts_end_the_process() -> None:
    """Ctrl-C ends this process without a traceback, as long as there is nothing to save.

    For a command to call before it imports anything large. Where SIGINT is ignored it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Stopped(BaseException):
    """A signal asked the process to end.

    No `Exception`, as KeyboardInterrupt is none: nothing on the way takes it for a failure.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class StopSignals:
    """What SIGINT, SIGTERM and SIGHUP do while it is entered, which only the main thread can.

    SIGHUP that is ignored already, as by nohup, stays so.
    """

    def __init__(self, end: Callable[[Stopped], Any] | None = None) -> None:
        """Enters nothing yet.

        Args:
            end: ends the process, from another thread than the main one, where a signal does not
                wait. Without it every signal waits until `deferred` or `at_once` looks for it.
        """
        self._end = end
        self._lock = threading.RLock()
        self._received = 0  # the number of the signal that waits
        self._deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._wake, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        self._waking_before = signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)  # the terminal is gone
        for number in numbers:
            self._before[number] = signal.signal(number, self._pass_on)
        self._thread = threading.Thread(target=self._attend, daemon=True, name="signals")
        self._thread.start()
        return self

    def __exit__(self, *unused: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._waking_before)
        os.write(self._waking, bytes([_OVER]))
        self._thread.join()
        os.close(self._wake)
        os.close(self._waking)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Signals wait for the end of this context, which may ask `came` and end early.

        A second SIGINT does not wait, nor does any within `at_once`.

        Raises:
            Stopped: at its end, if there was one.
        """
        self._defer(True)
        try:
            yield
        finally:
            self._defer(False)
        self._raise_if_received()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `deferred`: signals do not wait here, where nothing would be lost.

        Raises:
            Stopped: at its beginning, if one came to any process of this run.
        """
        if self.came():
            self._raise_if_received()
        before = self._defer(False)
        self._raise_if_received()  # one that came between the lines above
        try:
            yield
        finally:
            self._defer(before)

    def came(self) -> bool:
        """Whether one came to any process of this run before it asked; all have to ask."""
        from sfvae_jax.runtime import processes  # here, for it imports JAX

        received = int(processes.gathered(self._received).max())
        if received and not self._received:  # one that came meanwhile is not written over
            self._received = received
        return bool(received)

    def _defer(self, deferring: bool) -> bool:
        """Sets whether signals wait; returns whether they did."""
        with self._lock:  # the thread does not end the process for what was set before
            before, self._deferring = self._deferring, deferring
        return before

    def _raise_if_received(self) -> None:
        received, self._received = self._received, 0
        if received:
            raise Stopped(received)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """The handler; it acts only where other code has put its own descriptor in ours' place."""
        if signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False) != self._waking:
            os.write(self._waking, bytes([number]))

    def _attend(self) -> None:
        while (number := os.read(self._wake, 1)[0]) != _OVER:
            if number in self._before:
                self._note(number)

    def _note(self, number: int) -> None:
        with self._lock:
            insists = number == signal.SIGINT == self._received
            if self._end is not None and (insists or not self._deferring):
                self._end(Stopped(number))
            first, self._received = not self._received, number
        if first and self._deferring:
            again = "; a second one ends at once" if number == signal.SIGINT else ""
            name = signal.Signals(number).name
            log.info("%s: saving after the call in flight%s", name, again)
