"""A trace of some steps by JAX's profiler."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from sfvae_jax.errors import UsageError, in_one_line
from sfvae_jax.options import shown as value_shown
from sfvae_jax.paths import shown

log = logging.getLogger("sfvae_jax")

# The first and the last step of a trace.
Steps = tuple[int, int]


def parse_steps(text: str) -> Steps:
    """Parses the flag --profile=FIRST:LAST.

    Raises:
        UsageError: if it is not two steps in their order.
    """
    found = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text, re.ASCII)
    return checked((int(found[1]), int(found[2])) if found else text)


def checked(steps: Any, num_steps: int | None = None) -> Steps:
    """Returns the first and the last step of a trace.

    Args:
        steps: what is asked for.
        num_steps: `train.steps`; None: not known yet.

    Raises:
        UsageError: if they are not two steps in their order, or training ends before.
    """
    given = ":".join(map(str, steps)) if isinstance(steps, tuple) else value_shown(steps)
    if not (isinstance(steps, tuple) and len(steps) == 2 and 1 <= steps[0] <= steps[1]):
        raise UsageError(
            f"--profile must be FIRST:LAST, two steps such as 100:110, counted from 1; got {given}"
        )
    if num_steps is not None and steps[1] > num_steps:
        raise UsageError(
            f"--profile={given} goes beyond the last step, train.steps={num_steps}; give steps up"
            " to that one"
        )
    return steps


class Profile:
    """Traces the calls that take certain steps. A call of several steps is traced as a whole.

    A trace that cannot be made or written is reported, and training continues.
    """

    def __init__(self, steps: Steps, folder: Path) -> None:
        """Begins nothing yet.

        Args:
            steps: the first and the last step to trace.
            folder: where the trace is written; its parent exists.
        """
        self._first, self._last = steps
        self._folder = folder
        self._began: int | None = None  # the first step that is traced
        self._over = False

    @contextmanager
    def call(self, before: int, end: int) -> Iterator[None]:
        """Wraps the call that takes the steps after `before`, up to `end`.

        Its results must have arrived when the context ends.
        """
        if not self._over and self._began is None and end >= self._first:
            self._begin(before + 1)
        yield
        if self._began is not None and end >= self._last:
            self._end(end)

    def close(self, step: int) -> None:
        """Ends a trace that is going on, because training ends after this step; tells of none."""
        if self._began is not None:
            self._end(step)
        elif not self._over:
            log.warning(
                "--profile=%d:%d: there is no trace, because training ended after step %d",
                self._first,
                self._last,
                step,
            )

    def _begin(self, first: int) -> None:
        if first > self._last:
            log.warning(
                "--profile=%d:%d: there is no new trace, because these steps were taken before",
                self._first,
                self._last,
            )
            self._over = True
            return
        try:
            jax.profiler.start_trace(self._folder)
            self._began = first
        except Exception as error:  # such as another trace that is going on
            self._fail(error)

    def _end(self, last: int) -> None:
        first, self._began, self._over = self._began, None, True
        try:
            jax.profiler.stop_trace()
            whole = "" if (first, last) == (self._first, self._last) else ", which are whole calls,"
            where = shown(self._folder)
            log.info("profile: a trace of steps %d to %d%s is in %s", first, last, whole, where)
        except Exception as error:  # such as a full disk
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._over = True
        log.warning("--profile: there is no trace: %s; training goes on", in_one_line(error))
