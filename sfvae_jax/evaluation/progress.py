"""Shows the progress of a long evaluation: how much is done and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from sfvae_jax.runtime.display import Display

T = TypeVar("T")


class Progress(Display):
    """A context manager that shows how much of a task is done, and the time left."""

    def __init__(self, label: str, total: int) -> None:
        super().__init__(0, total, f"{label} ")
        self._label = label
        self._warm: tuple[int, float] | None = None  # (done, time) after the first call

    def update(self, done: int) -> None:
        """Shows that this much is done."""
        left = self._time_left(done)
        self.show(done, left, f"{self._label} {done}/{self._total}  {left}".rstrip())

    def _time_left(self, done: int) -> str:
        """Returns the time left, or "" after the first update, whose work includes compiling."""
        now = time.monotonic()
        if self._warm is None:
            self._warm = (done, now)
        if done == self._warm[0]:
            return ""
        each = (now - self._warm[1]) / (done - self._warm[0])
        return f"{(self._total - done) * each:.0f} s left"


def tracked(label: str, items: Sequence[T]) -> Iterator[T]:
    """Yields the items one by one, while a `Progress` shows how many are done."""
    with Progress(label, len(items)) as progress:
        for done, item in enumerate(items):
            progress.update(done)
            yield item
        progress.update(len(items))
