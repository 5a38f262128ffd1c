"""Draws pictures in a thread of its own, while training goes on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sfvae_jax.errors import in_one_line

log = logging.getLogger("sfvae_jax")

_MOST_WAITING = 16  # steps whose values are kept in memory until they are drawn
_SECONDS_IN_SILENCE = 2.0


class Background:
    """Does work for one step after another in one thread.

    Work that fails is reported, and nothing else changes.
    """

    def __init__(self) -> None:
        """Starts no thread before there is work."""
        self._thread = ThreadPoolExecutor(1, "pictures")
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    def begin(self, step: int, work: Callable[[], None]) -> None:
        """Returns at once, unless the pictures of very many steps are waiting.

        Args:
            step: the step that the pictures belong to.
            work: draws them.
        """
        while self._waiting and self._waiting[0][1].done():
            self._waiting.popleft()
        if self._waiting:
            earlier = self._waiting[0][0]
            log.info("still drawing the pictures of step %d; step %d follows", earlier, step)
        while len(self._waiting) >= _MOST_WAITING:
            self._wait()
        self._waiting.append((step, self._thread.submit(_told, step, work)))

    def finish(self) -> None:
        """Waits until all work is done."""
        while self._waiting:
            self._wait()
        self._thread.shutdown()

    def _wait(self) -> None:
        step, future = self._waiting.popleft()
        try:
            future.result(_SECONDS_IN_SILENCE)
        except TimeoutError:
            log.info("waiting for the pictures of step %d", step)
            future.result()


def _told(step: int, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:  # of any kind: a picture must not stop training
        log.warning(
            "the pictures of step %d are not drawn: %s; training goes on", step, in_one_line(error)
        )
