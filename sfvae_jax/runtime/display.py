"""The display of progress: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from typing import Any, Self

from tqdm import tqdm

from sfvae_jax.runtime.output import say

_SECONDS_BETWEEN_LINES = 10.0
_BAR = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"

_hidden = False


def hide() -> None:
    """Shows no more progress from this process, because another one of the run shows it."""
    global _hidden
    _hidden = True


class Display:
    """One bar, or one line every ten seconds, on stderr. A context manager."""

    def __init__(self, start: int, total: int, label: str = "") -> None:
        self._total = total
        self._terminal = sys.stderr.isatty() and not _hidden
        # If a terminal does not tell its size, tqdm draws nothing.
        width, height = shutil.get_terminal_size()
        bar = {"ncols": width, "nrows": height, "bar_format": _BAR, "disable": not self._terminal}
        self._bar = tqdm(total=total, initial=start, desc=label or None, **bar)
        self._next_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: Any) -> None:
        with suppress(OSError):
            self._bar.close()

    def show(self, done: int, beside: str, line: str) -> None:
        """Moves the bar, with a text beside it; without a bar, prints a line every ten seconds.

        The last line is always printed. A closed terminal or a full disk is not an error.
        """
        with suppress(OSError):
            self._show(done, beside, line)

    def _show(self, done: int, beside: str, line: str) -> None:
        now = time.monotonic()
        if self._terminal:
            self._bar.set_postfix_str(beside, False)
            self._bar.update(done - self._bar.n)
        elif not _hidden and (done == self._total or now >= self._next_line):
            self._next_line = now + _SECONDS_BETWEEN_LINES
            say(line, sys.stderr)
