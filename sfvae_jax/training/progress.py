"""The progress of training on the screen: loss, speed and time left."""

from __future__ import annotations

import time

from sfvae_jax.runtime.display import Display


class Progress(Display):
    """Shows loss, steps per second and time left. A context manager."""

    def __init__(self, start: int, total: int) -> None:
        super().__init__(start, total)
        self._step, self._time = start, time.monotonic()
        self._warm: tuple[int, float] | None = None  # step and time after the first call

    def go_on(self) -> None:
        """Begins the time of the next steps, after validation, saves and measures."""
        self._time = time.monotonic()

    def update(self, step: int, loss: float) -> float:
        """Shows the step reached; returns the steps per second since the start or `go_on`.

        The time left counts everything that happens between two calls.
        """
        now = time.monotonic()
        rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step = step
        if self._warm is None:
            self._warm = (step, now)  # the first call compiles, the others do not
            average = rate
        else:
            average = (step - self._warm[0]) / max(now - self._warm[1], 1e-9)
        left = f"{(self._total - step) / average:.0f} s left"
        self.show(
            step,
            f"loss {loss:.2f}, {average:.2f} steps/s, {left}",
            f"step {step}/{self._total}  loss {loss:.2f}  {average:.2f} steps/s  {left}",
        )
        return rate
