"""What a sweep requires of a backend: the machines that carry out its runs."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from launch.runs import Run

STOPPED = (130, 143, -2, -9, -15)  # exit statuses of a run that a signal ended


class Ended(NamedTuple):
    """A run that has ended.

    Attributes:
        run: the run.
        status: its exit status; below 0 the signal that killed it.
        error: its error in one line; empty for status 0.
    """

    run: Run
    status: int
    error: str = ""


class Backend(Protocol):
    """Carries out runs, as many at a time as there is room for."""

    def poll(self) -> list[Ended]:
        """Returns the runs that have ended since the last call; starts those that now have room."""

    def running(self) -> list[Run]:
        """Returns the runs that are being carried out now."""

    def stop(self) -> None:
        """Lets the active runs save and end; no other run is started."""

    def kill(self) -> None:
        """Kills the active runs at once."""

    def close(self) -> None:
        """Releases its resources."""

    @property
    def is_over(self) -> bool:
        """Whether no run is being carried out or waits for room."""
