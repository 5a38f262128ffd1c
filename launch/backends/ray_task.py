"""What a worker of a Ray cluster does for one run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.backends.base import STOPPED
from launch.backends.process import ending, start

_SECONDS_BETWEEN_LOOKS = 0.2


class Killed(RuntimeError):
    """Raised if a run did not end by itself; another try goes on from its checkpoint."""


def carry_out(
    arguments: Sequence[str], log: str, environment: Mapping[str, str], folder: str | None
) -> tuple[int, str]:
    """Runs `python -m sfvae_jax.main`; returns its exit status and last error.

    Args:
        arguments: the arguments of the command.
        log: the file to which its output is appended.
        environment: variables in addition to those of the worker.
        folder: the folder to run it in; None for that of the worker, with the shipped files.

    Raises:
        Killed: if a signal ended it that did not come from the sweep.
    """
    if folder is not None:
        os.chdir(folder)
    try:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        # The process must end at once with its worker: the next try needs the lock of the workdir.
        process = start(arguments, Path(log), signal.SIGKILL, environment=environment)
    except OSError as error:
        return 1, str(error)
    cancelled = False
    try:
        status = _wait(process)
    except KeyboardInterrupt:  # ray.cancel: let it save
        cancelled = True
        process.terminate()
        status = _wait(process)
    finally:
        process.kill()  # if another error ended the wait; no effect once it has ended
    problem = ending(status, Path(log)) if status else ""
    if status in STOPPED and not cancelled:
        raise Killed(problem)
    return status, problem


def _wait(process: subprocess.Popen) -> int:
    """Waits like `process.wait`, but so that ray.cancel can interrupt it."""
    while process.poll() is None:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return process.returncode
