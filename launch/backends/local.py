"""Carries out runs as processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from launch.backends.base import Ended
from launch.backends.process import ending, start
from launch.runs import Run


def shares(jobs: int) -> list[list[int]]:
    """Returns the cores of each job, which it has to itself.

    Threads of several runs on the same cores wait for each other, and wait actively: two runs of
    SFVAE's Table 4 on the same two cores take three times as long as two that have one each.

    Returns:
        Equal shares of the cores of this process; empty ones, which stand for all cores, for a
        single job, for more jobs than cores, or where the system does not tell.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    size = len(cores) // jobs if jobs > 1 else 0
    return [cores[i * size : (i + 1) * size] for i in range(jobs)]


class LocalBackend:
    """Carries out at most `jobs` runs at a time, each with the log `logs`/NAME.log."""

    def __init__(
        self,
        runs: Sequence[Run],
        logs: Path,
        jobs: int,
        ended_without_start: Callable[[Run], Ended | None] = lambda run: None,
    ) -> None:
        """Takes the runs; `ended_without_start` returns how one ends that need not be started."""
        self._waiting = deque(runs)
        self._ended_without_start = ended_without_start
        self._logs = logs
        self._free = shares(jobs)  # the cores of the jobs that have no run
        self._working: list[tuple[Run, subprocess.Popen, list[int]]] = []

    def poll(self) -> list[Ended]:
        """Returns the runs that have ended since the last call; starts those that now have room."""
        ended = [job for job in self._working if job[1].poll() is not None]
        self._working = [job for job in self._working if job not in ended]
        self._free += [cores for _, _, cores in ended]
        not_started = []
        while self._waiting and self._free:
            run = self._waiting.popleft()
            known = self._ended_without_start(run)
            if known is not None:
                not_started.append(known)
                continue
            try:
                # If the sweep itself dies, its runs may still save.
                process = start(run.arguments, self._log(run), signal.SIGTERM, cores=self._free[0])
                self._working.append((run, process, self._free.pop(0)))
            except OSError as error:
                not_started.append(Ended(run, 1, str(error)))
        return not_started + [self._ended(run, process.returncode) for run, process, _ in ended]

    def running(self) -> list[Run]:
        """Returns the runs that are being carried out now."""
        return [run for run, *_ in self._working]

    def stop(self) -> None:
        """Lets the active runs save and end; no other run is started."""
        self._waiting.clear()
        for _, process, _ in self._working:
            process.terminate()

    def kill(self) -> None:
        """Kills the active runs at once."""
        for _, process, _ in self._working:
            process.kill()

    def close(self) -> None:
        """Lets the active runs save and end, without waiting for them."""
        self.stop()

    @property
    def is_over(self) -> bool:
        """Whether no run is being carried out or waits for room."""
        return not self._waiting and not self._working

    def _ended(self, run: Run, status: int) -> Ended:
        return Ended(run, status, ending(status, self._log(run)) if status else "")

    def _log(self, run: Run) -> Path:
        return self._logs / f"{run.name}.log"
