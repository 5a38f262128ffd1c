"""Progress for a person: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"


class Progress:
    """Shows loss, steps per second and time left. A context manager."""

    def __init__(self, start: int, total: int) -> None:
        self._total = total
        self._terminal = sys.stderr.isatty()
        # A terminal may not tell its size, and tqdm would then draw nothing.
        width, height = shutil.get_terminal_size()
        bar = {"ncols": width, "nrows": height, "bar_format": _BAR, "disable": not self._terminal}
        self._bar = tqdm(total=total, initial=start, **bar)
        self._step, self._time = start, time.monotonic()
        self._warm: tuple[int, float] | None = None  # step and time after the first call
        self._next_line = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *unused: Any) -> None:
        self._bar.close()

    def update(self, step: int, loss: float) -> float:
        """Takes note of the step reached; returns the steps per second since the last note."""
        now = time.monotonic()
        rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        if self._warm is None:
            self._warm = (step, now)  # the first call compiles; what is left will not
            average = rate
        else:
            average = (step - self._warm[0]) / max(now - self._warm[1], 1e-9)
        left = f"{(self._total - step) / average:.0f} s left"
        if self._terminal:
            self._bar.set_postfix_str(f"loss {loss:.2f}, {average:.2f} steps/s, {left}", False)
            self._bar.update(step - self._bar.n)
        elif step == self._total or now >= self._next_line:
            self._next_line = now + _SECONDS_BETWEEN_LINES
            line = f"step {step}/{self._total}  loss {loss:.2f}  {average:.2f} steps/s  {left}"
            print(line, file=sys.stderr, flush=True)
        return rate
