"""What a sweep asks of the machines that its runs go to."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from launch.runs import Run

STOPPED = (130, 143, -2, -9, -15)  # statuses of a run that a signal ended


class Ended(NamedTuple):
    """A run that is over."""

    run: Run
    status: int  # 0: done; below 0: the signal that killed it
    error: str = ""  # one line; empty for status 0


class Backend(Protocol):
    """Carries out runs, as many at a time as there is room for."""

    def poll(self) -> list[Ended]:
        """The runs that have ended since the last call; starts those that now have room."""

    def running(self) -> list[Run]:
        """The runs at work now."""

    def stop(self) -> None:
        """Lets the runs at work save and end; no other is started."""

    def kill(self) -> None:
        """Ends the runs at work at once."""

    def close(self) -> None:
        """Gives back what it holds."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is at work nor waits for room."""
