"""The progress of a whole sweep: runs, steps and the time left."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from launch.runs import Run
from sfvae_jax.paths import not_regular
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime.display import Display
from sfvae_jax.runtime.files import parse_json

_SECONDS_BETWEEN_LOOKS = 2.0
_TAIL = 2**14  # bytes at the end of metrics.jsonl that hold its last record


class SweepProgress(Display):
    """Shows how many runs are done, failed and running, and all steps. A context manager."""

    def __init__(self, runs: Sequence[Run], finished: Collection[str]) -> None:
        """Takes the runs of a sweep, and the names of those that are finished."""
        super().__init__(0, len(runs), "runs")
        self._runs = runs
        self._steps = {
            run.name: run.steps if run.name in finished else last_step(_metrics(run))
            for run in runs
        }
        self._start, self._began = self._work_done(), time.monotonic()
        self._next_look = 0.0

    def update(self, done: Collection[str], failed: Collection[str], running: list[Run]) -> None:
        """Shows which runs are done and failed, by name, and which are running."""
        over = len(done) + len(failed) == len(self._runs)
        now = time.monotonic()
        if now < self._next_look and not over:
            return
        self._next_look = now + _SECONDS_BETWEEN_LOOKS
        self._steps.update({run.name: last_step(_metrics(run)) for run in running})
        self._steps.update({run.name: run.steps for run in self._runs if run.name in done})
        steps, total = sum(self._steps.values()), sum(run.steps for run in self._runs)
        counts = f"{len(failed)} failed, {len(running)} running, step {steps}/{total}"
        beside = f"{counts}, {self._left(failed)}"
        line = f"runs {len(done)}/{len(self._runs)} done, {beside}"
        self.show(len(done) + len(failed), beside, line)

    def _left(self, failed: Collection[str]) -> str:
        left = [run for run in self._runs if run.name not in failed]
        to_do = sum(run.step_weight * (run.steps - self._steps[run.name]) for run in left)
        taken = self._work_done() - self._start
        if taken <= 0:  # below 0 if a run goes on from a checkpoint before its last record
            return "time left unknown"
        return f"{to_do * (time.monotonic() - self._began) / taken:.0f} s left"

    def _work_done(self) -> float:
        """Returns the steps that all runs have taken, by their weights."""
        return sum(run.step_weight * self._steps[run.name] for run in self._runs)


def last_step(metrics: Path) -> int:
    """Returns the step of the last whole record of a metrics.jsonl; 0 if none can be read."""
    try:
        if not_regular(metrics):
            return 0
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(parse_json(line, finite=False)["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue  # cut off, being written, or damaged
    return 0


def _metrics(run: Run) -> Path:
    return Workdir(run.workdir).metrics
