"""SIGINT, SIGTERM and SIGHUP: training finishes its call and saves; anything else ends at once.

Python runs the handler of a signal between two steps of the main thread, which may wait for XLA for
minutes, and an exception that a handler raises inside a callback is lost. The handlers here do
nothing: the signal wakes a thread (`signal.set_wakeup_fd`), which sets a flag for training to look
at, or ends the process if nothing would be lost.
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

_OVER = 0  # instead of the number of a signal: the thread ends


def let_interrupts_end_the_process() -> None:
    """Lets Ctrl-C end this process without a traceback, as long as there is nothing to save.

    A command calls this before it imports anything large. If SIGINT is ignored, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Stopped(BaseException):
    """A signal asked the process to end.

    Like KeyboardInterrupt it is not an `Exception`, so that no handler takes it for a failure.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class StopSignals:
    """A context that handles SIGINT, SIGTERM and SIGHUP; only the main thread can enter it.

    If SIGHUP is ignored already, as under nohup, it stays so.
    """

    def __init__(self, end: Callable[[Stopped], Any] | None = None) -> None:
        """Does not enter the context yet.

        Args:
            end: ends the process, called in another thread, if a signal need not wait. Without it
                every signal waits until `deferred` or `at_once` looks for it.
        """
        self._end = end
        self._lock = threading.RLock()
        self._received = 0  # the number of the waiting signal
        self._deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._wake, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        self._waking_before = signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)  # the terminal was closed
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
        """Makes signals wait for the end of this context, which may ask `came` and end early.

        A second SIGINT does not wait, nor does any signal within `at_once`.

        Raises:
            Stopped: at the end, if a signal came.
        """
        self._defer(True)
        try:
            yield
        finally:
            self._defer(False)
        self._raise_if_received()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `deferred`, lets signals act at once where nothing would be lost.

        Raises:
            Stopped: at the beginning, if a signal came to any process of this run.
        """
        if self.came():
            self._raise_if_received()
        before = self._defer(False)
        self._raise_if_received()  # a signal may have come between the lines above
        try:
            yield
        finally:
            self._defer(before)

    def came(self) -> bool:
        """Whether a signal came to any process of this run; all processes must call this."""
        from sfvae_jax.runtime import processes  # it imports JAX, for which Ctrl-C must not wait

        received = int(processes.gathered(self._received).max())
        if received and not self._received:  # a signal that came meanwhile is kept
            self._received = received
        return bool(received)

    def _defer(self, deferring: bool) -> bool:
        """Sets whether signals wait; returns whether they did."""
        with self._lock:  # else the thread could act on the old value
            before, self._deferring = self._deferring, deferring
        return before

    def _raise_if_received(self) -> None:
        received, self._received = self._received, 0
        if received:
            raise Stopped(received)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal; it only acts if other code has replaced our wake-up descriptor."""
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
            again = "; a second one ends the process at once" if number == signal.SIGINT else ""
            name = signal.Signals(number).name
            log.info("%s: saving after the steps that the devices are taking%s", name, again)
