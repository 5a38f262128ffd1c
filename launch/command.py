"""How the commands of launch/ end: one line for an error, one for each run that failed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sfvae_jax.errors import RunError, UsageError, in_one_line
from sfvae_jax.runtime.output import say, say_error


def status_of(work: Callable[[], int]) -> int:
    """The exit status of a command's work; an error of it is told in one line."""
    try:
        return work()
    except (UsageError, RunError) as error:
        return fail(str(error), error.exit_status)
    except OSError as error:  # a full disk, a folder in the place of a file
        return fail(in_one_line(error), RunError.exit_status)


def fail(message: str, status: int) -> int:
    """Tells an error; returns the status."""
    say_error(message)
    return status


def make_folder(folder: Path, flag: str) -> None:
    """Makes a folder that a flag names.

    Raises:
        UsageError: naming the flag, if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; change {flag}") from error


def tell_failed(failed: Mapping[str, str], logs: Path) -> None:
    """Tells the error of each run that failed, by its name, and where its log is."""
    for name, error in failed.items():
        log = logs / f"{name}.log"
        say(f"failed: {name}: {error}" + f"; log: {log}" * log.exists(), sys.stderr)
