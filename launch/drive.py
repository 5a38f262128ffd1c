"""Carries out the runs of a sweep: finished runs are left alone, failed ones are listed.

Runs that another process trains, such as a second sweep in the same folder, are waited for at the
end.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from types import FrameType
from typing import Any, Self

from launch.backends.base import STOPPED, Backend, Ended
from launch.progress import SweepProgress
from launch.runs import Run, is_finished
from sfvae_jax.errors import RunError, UsageError, in_one_line, listed
from sfvae_jax.runtime.lock import OCCUPIED, is_locked
from sfvae_jax.runtime.output import say

_SECONDS_BETWEEN_POLLS = 0.2
_SECONDS_BETWEEN_LOOKS = 1.0  # at runs that other processes train
_WORKDIR_ERRORS = (OSError, UsageError, RunError)  # what reading a workdir may raise


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP instead of letting them end the process.

    A context manager. A SIGHUP that is already ignored, as under nohup, stays ignored. A deadline
    that has passed counts as the first signal, whether or not one came too.

    Attributes:
        handled: how many interrupts the sweep has acted upon.
        first: the signal that came first; None if none came.
    """

    def __init__(self, deadline: float = math.inf) -> None:
        """Takes the deadline, on the clock of `time.monotonic`."""
        self.handled = 0
        self.first: int | None = None
        self._received, self._deadline = 0, deadline

    @property
    def count(self) -> int:
        """How many interrupts there have been."""
        return max(self._received, int(self.is_late))

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._deadline

    def __enter__(self) -> Self:
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signals.append(signal.SIGHUP)  # the terminal was closed
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *unused: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received += 1
        self.first = self.first or number


def _nothing(run: Run) -> None:
    """Does nothing."""


@dataclasses.dataclass
class Outcome:
    """What became of the runs, by their names.

    Attributes:
        done: the runs that are finished.
        failed: the error of each run that failed.
        elsewhere: the runs that another process trains.
        interrupted_by: the signal that ended the sweep.
        is_late: whether its deadline ended it.
        when_done: is called with each run as soon as it is known to be finished.
    """

    done: set[str] = dataclasses.field(default_factory=set)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    elsewhere: set[str] = dataclasses.field(default_factory=set)
    interrupted_by: int | None = None
    is_late: bool = False
    when_done: Callable[[Run], None] = dataclasses.field(default=_nothing, compare=False)


def find_ended(runs: Sequence[Run], outcome: Outcome | None = None) -> Outcome:
    """Finds the runs that need not or cannot be started.

    They are finished, trained by another process, or have a workdir with another configuration.

    Args:
        runs: all runs of a sweep.
        outcome: where they are noted; None for a new outcome.
    """
    outcome = Outcome() if outcome is None else outcome
    for run in runs:
        ended = ended_without_start(run)
        if ended is not None:
            _note(outcome, ended, stopping=False)
    return outcome


def ended_without_start(run: Run) -> Ended | None:
    """Returns how a run ends that need not or cannot be started now; None if it can be."""
    try:
        if is_finished(run):
            return Ended(run, 0)
    except _WORKDIR_ERRORS as error:
        return Ended(run, UsageError.exit_status, in_one_line(error))
    if is_locked(run.workdir):
        return Ended(run, UsageError.exit_status, f"{OCCUPIED} {run.workdir}")
    return None


def carry_out(
    runs: Sequence[Run],
    outcome: Outcome,
    make_backend: Callable[[list[Run]], Backend],
    deadline: float = math.inf,
) -> None:
    """Carries out the runs that are not in the outcome yet, and completes the outcome.

    Afterwards it waits for the runs that other processes train; one that its process leaves
    unfinished is carried out as well. The first SIGINT, SIGTERM or SIGHUP lets the active runs
    save and end, the second kills them. An error of the sweep itself lets them save and end before
    it is raised.

    Args:
        runs: all runs of a sweep.
        outcome: what is known of them.
        make_backend: a function from runs to the backend that carries them out.
        deadline: a time on the clock of `time.monotonic` at which to act as on the first signal.
    """
    known = outcome.done | outcome.failed.keys() | outcome.elsewhere
    to_do = [run for run in runs if run.name not in known]
    with Interrupts(deadline) as interrupts:
        while (to_do or outcome.elsewhere) and not interrupts.count:
            if to_do:
                with closing(make_backend(to_do)) as backend:
                    _carry_out(backend, runs, outcome, interrupts)
            if interrupts.count:
                break
            to_do = _wait_for_others(runs, outcome, interrupts)
    outcome.interrupted_by, outcome.is_late = interrupts.first, interrupts.is_late


def _carry_out(
    backend: Backend, runs: Sequence[Run], outcome: Outcome, interrupts: Interrupts
) -> None:
    try:
        with SweepProgress(runs, outcome.done) as progress:

            def note(over: list[Ended]) -> None:
                for ended in over:
                    _note(outcome, ended, stopping=interrupts.handled > 0)
                progress.update(outcome.done, outcome.failed, backend.running())

            _poll_until_over(backend, interrupts, note)
    except Exception:
        if not interrupts.handled:
            _interrupt(backend, interrupts)
        _poll_until_over(backend, interrupts, lambda over: None)
        raise


def _wait_for_others(runs: Sequence[Run], outcome: Outcome, interrupts: Interrupts) -> list[Run]:
    """Waits until no other process trains a run, or runs are free; returns the free ones."""
    if outcome.elsewhere:
        where = listed(sorted(outcome.elsewhere), 1)
        say(f"waiting for runs that other processes train: {where}", sys.stderr)
    while outcome.elsewhere and not interrupts.count:
        freed = []
        for run in [run for run in runs if run.name in outcome.elsewhere]:
            ended = ended_without_start(run)
            outcome.elsewhere.discard(run.name)
            if ended is None:
                freed.append(run)
            else:
                _note(outcome, ended, stopping=False)
        if freed:
            return freed
        if outcome.elsewhere:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return []


def _poll_until_over(
    backend: Backend, interrupts: Interrupts, note: Callable[[list[Ended]], None]
) -> None:
    """Polls until no run is left, and acts upon the signals."""
    while not backend.is_over:
        if interrupts.count > interrupts.handled:
            _interrupt(backend, interrupts)
        note(backend.poll())
        time.sleep(_SECONDS_BETWEEN_POLLS)


def _interrupt(backend: Backend, interrupts: Interrupts) -> None:
    (backend.kill if interrupts.handled else backend.stop)()
    interrupts.handled += 1


def _note(outcome: Outcome, ended: Ended, *, stopping: bool) -> None:
    run, status, error = ended
    if stopping and status in STOPPED:
        return  # neither done nor failed: the same command goes on with it
    if status == 0:
        error = _missing(run)
    if OCCUPIED in error:
        outcome.elsewhere.add(run.name)
    elif error:
        outcome.failed[run.name] = error
    else:
        outcome.done.add(run.name)
        outcome.when_done(run)


def _missing(run: Run) -> str:
    """Returns what is missing on disk of a run that ended well; empty if nothing is."""
    try:
        if is_finished(run):
            return ""
    except _WORKDIR_ERRORS as error:
        return in_one_line(error)
    return (
        f"exited with status 0, but {run.workdir} holds no final measures; check that all"
        " machines share this folder"
    )
