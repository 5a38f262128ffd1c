"""Carries out runs as processes of this machine."""

from __future__ import annotations

import signal
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from launch.backends.base import Ended
from launch.backends.process import ending, start
from launch.runs import Run


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
        self._jobs = jobs
        self._working: list[tuple[Run, subprocess.Popen]] = []

    def poll(self) -> list[Ended]:
        """Returns the runs that have ended since the last call; starts those that now have room."""
        ended = [pair for pair in self._working if pair[1].poll() is not None]
        self._working = [pair for pair in self._working if pair not in ended]
        not_started = []
        while self._waiting and len(self._working) < self._jobs:
            run = self._waiting.popleft()
            known = self._ended_without_start(run)
            if known is not None:
                not_started.append(known)
                continue
            try:
                # If the sweep itself dies, its runs may still save.
                process = start(run.arguments, self._log(run), signal.SIGTERM)
                self._working.append((run, process))
            except OSError as error:
                not_started.append(Ended(run, 1, str(error)))
        return not_started + [self._ended(run, process.returncode) for run, process in ended]

    def running(self) -> list[Run]:
        """Returns the runs that are being carried out now."""
        return [run for run, _ in self._working]

    def stop(self) -> None:
        """Lets the active runs save and end; no other run is started."""
        self._waiting.clear()
        for _, process in self._working:
            process.terminate()

    def kill(self) -> None:
        """Kills the active runs at once."""
        for _, process in self._working:
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
