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
from sfvae_jax.errors import UsageError

_SECONDS_BETWEEN_POLLS = 0.2


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
        except UsageError as error:
            outcome.failed[run.name] = str(error)
    return outcome


def carry_out(
    runs: Sequence[Run], outcome: Outcome, make_backend: Callable[[list[Run]], Backend]
) -> None:
    """Has a backend carry out the runs of which the outcome knows nothing, and completes it.

    The first SIGINT or SIGTERM lets the runs at work save and end; the second kills them.
    """
    known = outcome.done | outcome.failed.keys()
    to_do = [run for run in runs if run.name not in known]
    if not to_do:
        return
    heeded = 0
    with (
        closing(make_backend(to_do)) as backend,
        Interrupts() as interrupts,
        SweepProgress(runs, outcome.done) as progress,
    ):
        while not backend.is_over:
            if interrupts.count > heeded:
                (backend.kill if heeded else backend.stop)()
                heeded = interrupts.count
            for ended in backend.poll():
                _note(outcome, ended, stopping=heeded > 0)
            progress.update(outcome.done, outcome.failed, backend.running())
            time.sleep(_SECONDS_BETWEEN_POLLS)
    outcome.interrupted_by = interrupts.first


def _note(outcome: Outcome, ended: Ended, *, stopping: bool) -> None:
    run, status, error = ended
    if stopping and status in STOPPED:
        return  # neither done nor failed: it goes on with the same command
    if status == 0 and not is_finished(run):
        error = f"ended well, but {run.workdir} holds no final measures; do all machines share it?"
    if error:
        outcome.failed[run.name] = error
    else:
        outcome.done.add(run.name)
