"""What the commands of launch/ share: exit status, errors in one line, folders that they write."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sfvae_jax.errors import RunError, UsageError, in_one_line
from sfvae_jax.runtime.output import say, say_error


def status_of(work: Callable[[], int]) -> int:
    """Does the work of a command and returns its exit status; prints an error in one line."""
    try:
        return work()
    except (UsageError, RunError) as error:
        return fail(str(error), error.exit_status)
    except OSError as error:  # such as a full disk, or a folder instead of a file
        return fail(in_one_line(error), RunError.exit_status)


def fail(message: str, status: int) -> int:
    """Prints an error and returns the status."""
    say_error(message)
    return status


def make_folder(folder: Path, flag: str) -> None:
    """Makes a folder that a flag names.

    Raises:
        UsageError: if it cannot be made; the message names the flag.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; change {flag}") from error


def say_failed(failed: Mapping[str, str], logs: Path) -> None:
    """Prints the name, error and log of each run that failed."""
    for name, error in failed.items():
        log = logs / f"{name}.log"
        where = f"; log: {log}" if log.exists() else ""
        say(f"failed: {name}: {error}{where}", sys.stderr)
