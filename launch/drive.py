"""Carrying out the runs of a sweep: what is finished is left alone, what fails is listed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from launch.backend import STOPPED, Backend, Ended
from launch.interrupts import Interrupts
from launch.progress import SweepProgress
from launch.runs import Run, is_finished
from sfvae_jax.errors import RunError, UsageError, in_one_line

_SECONDS_BETWEEN_POLLS = 0.2
_OF_A_WORKDIR = (OSError, UsageError, RunError)  # what looking into one may raise


@dataclasses.dataclass
class Outcome:
    """What became of the runs, by their names."""

    done: set[str] = dataclasses.field(default_factory=set)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)  # the error of each
    interrupted_by: int | None = None  # the signal that ended the sweep


def look_over(runs: Sequence[Run]) -> Outcome:
    """Which runs are finished, and which cannot start as another run has their workdir."""
    outcome = Outcome()
    for run in runs:
        try:
            if is_finished(run):
                outcome.done.add(run.name)
        except _OF_A_WORKDIR as error:
            outcome.failed[run.name] = in_one_line(error)
    return outcome


def carry_out(
    runs: Sequence[Run], outcome: Outcome, make_backend: Callable[[list[Run]], Backend]
) -> None:
    """Has a backend carry out the runs of which the outcome knows nothing, and completes it.

    The first SIGINT, SIGTERM or SIGHUP lets the runs at work save and end; the second kills them.
    So does an error of the sweep itself, before it is raised.
    """
    known = outcome.done | outcome.failed.keys()
    to_do = [run for run in runs if run.name not in known]
    if not to_do:
        return
    with Interrupts() as interrupts, closing(make_backend(to_do)) as backend:
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
    outcome.interrupted_by = interrupts.first


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
    if error:
        outcome.failed[run.name] = error
    else:
        outcome.done.add(run.name)


def _missing(run: Run) -> str:
    """What a run that ended well lacks on disk; empty where it lacks nothing."""
    try:
        if is_finished(run):
            return ""
    except _OF_A_WORKDIR as error:
        return in_one_line(error)
    return f"ended well, but {run.workdir} holds no final measures; do all machines share it?"
