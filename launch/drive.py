"""Carrying out the runs of a sweep: what is finished is left alone, what fails is listed.

What another process trains, such as a second sweep in the same folder, is waited for at the end.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from launch.backends.base import STOPPED, Backend, Ended
from launch.interrupts import Interrupts
from launch.progress import SweepProgress
from launch.runs import Run, is_finished
from sfvae_jax.errors import RunError, UsageError, in_one_line, listed
from sfvae_jax.runtime.lock import OCCUPIED, is_locked
from sfvae_jax.runtime.output import say

_SECONDS_BETWEEN_POLLS = 0.2
_SECONDS_BETWEEN_LOOKS = 1.0  # at what other processes do
_OF_A_WORKDIR = (OSError, UsageError, RunError)  # what looking into one may raise


def _nothing(run: Run) -> None:
    """Of what nobody waits for."""


@dataclasses.dataclass
class Outcome:
    """What became of the runs, by their names.

    Attributes:
        done: those that are finished.
        failed: the error of each.
        elsewhere: those that another process trains.
        interrupted_by: the signal that ended the sweep.
        is_late: whether its deadline ended it.
        when_done: called with each run as soon as it is known to be finished.
    """

    done: set[str] = dataclasses.field(default_factory=set)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    elsewhere: set[str] = dataclasses.field(default_factory=set)
    interrupted_by: int | None = None
    is_late: bool = False
    when_done: Callable[[Run], None] = dataclasses.field(default=_nothing, compare=False)


def look_over(runs: Sequence[Run], outcome: Outcome | None = None) -> Outcome:
    """Which runs are finished, at work elsewhere, or have the workdir of another configuration.

    Args:
        runs: all of a sweep.
        outcome: where to note it; None: a new one.
    """
    outcome = Outcome() if outcome is None else outcome
    for run in runs:
        ended = without_start(run)
        if ended is not None:
            _note(outcome, ended, stopping=False)
    return outcome


def without_start(run: Run) -> Ended | None:
    """How a run ends that need not or cannot be started now; None where it can."""
    try:
        if is_finished(run):
            return Ended(run, 0)
    except _OF_A_WORKDIR as error:
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
    """Has a backend carry out the runs of which the outcome knows nothing, and completes it.

    Then it waits for the runs at work elsewhere: one that its process leaves unfinished is carried
    out as well. The first SIGINT, SIGTERM or SIGHUP lets the runs at work save and end; the second
    kills them. So does an error of the sweep itself, before it is raised. The deadline, on the
    clock of `time.monotonic`, does as a first signal does.
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
                    _note(outcome, ended, stopping=interrupts.heeded > 0)
                progress.update(outcome.done, outcome.failed, backend.running())

            _attend(backend, interrupts, note)
    except Exception:
        if not interrupts.heeded:
            _heed(backend, interrupts)
        _attend(backend, interrupts, lambda over: None)
        raise


def _wait_for_others(runs: Sequence[Run], outcome: Outcome, interrupts: Interrupts) -> list[Run]:
    """Until none is at work elsewhere or one can be started; returns those that can."""
    if outcome.elsewhere:
        where = listed(sorted(outcome.elsewhere), 1)
        say(f"waiting for other processes, at work in {where}", sys.stderr)
    while outcome.elsewhere and not interrupts.count:
        freed = []
        for run in [run for run in runs if run.name in outcome.elsewhere]:
            ended = without_start(run)
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


def _attend(backend: Backend, interrupts: Interrupts, note: Callable[[list[Ended]], None]) -> None:
    """Polls until nothing is at work, and heeds the signals."""
    while not backend.is_over:
        if interrupts.count > interrupts.heeded:
            _heed(backend, interrupts)
        note(backend.poll())
        time.sleep(_SECONDS_BETWEEN_POLLS)


def _heed(backend: Backend, interrupts: Interrupts) -> None:
    (backend.kill if interrupts.heeded else backend.stop)()
    interrupts.heeded += 1


def _note(outcome: Outcome, ended: Ended, *, stopping: bool) -> None:
    run, status, error = ended
    if stopping and status in STOPPED:
        return  # neither done nor failed: it goes on with the same command
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
    """What a run that ended well lacks on disk; empty where it lacks nothing."""
    try:
        if is_finished(run):
            return ""
    except _OF_A_WORKDIR as error:
        return in_one_line(error)
    return f"ended well, but {run.workdir} holds no final measures; do all machines share it?"
