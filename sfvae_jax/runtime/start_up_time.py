"""The time that a run takes to its first steps, and how much of it XLA compiles."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import jax

_COMPILATION = "/jax/core/compile/backend_compile_duration"


def process_start() -> float:
    """Returns when this process began, on the clock of `time.monotonic`; now if that is unknown."""
    now = time.monotonic()
    try:
        # Field 22 counts ticks since the system started; the second, in brackets, may hold spaces.
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError, ValueError, IndexError):
        return now
    return now - max(age, 0.0)


class StartUp:
    """The time from a beginning, a value of `time.monotonic`, to the first steps of a run."""

    def __init__(self, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._clock = _compilations()
        self._compiled_before = self._clock.seconds

    def __str__(self) -> str:
        total = time.monotonic() - self._began
        compiling = self._clock.seconds - self._compiled_before
        return f"{total:.1f} s, {compiling:.1f} s of them compiling"


class _Compilations:
    """Counts the seconds in which this process waits for XLA, or for its cache of programs."""

    seconds = 0.0

    def note(self, event: str, duration_secs: float, **unused: str | int) -> None:
        if event == _COMPILATION:
            self.seconds += duration_secs


@functools.cache
def _compilations() -> _Compilations:
    compilations = _Compilations()
    jax.monitoring.register_event_duration_secs_listener(compilations.note)
    return compilations
