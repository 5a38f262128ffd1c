"""The part of a run on Ray that a worker of the cluster carries out."""

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
    """Something other than the run ended it; another try goes on from its checkpoint."""


def carry_out(
    arguments: Sequence[str], log: str, environment: Mapping[str, str], folder: str | None
) -> tuple[int, str]:
    """Exit status and last error of `python -m sfvae_jax.main`.

    Args:
        arguments: of the command.
        log: file to add its output to.
        environment: variables besides those of the worker.
        folder: to run it in; None: where the worker is, among the files shipped to it.

    Raises:
        Killed: if a signal ended it, and not the sweep.
    """
    if folder is not None:
        os.chdir(folder)
    try:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        # With its worker the process has to end at once: the next try needs the workdir's lock.
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
        process.kill()  # whatever else broke the waiting; none that has ended
    error = ending(status, Path(log)) if status else ""
    if status in STOPPED and not cancelled:
        raise Killed(error)
    return status, error


def _wait(process: subprocess.Popen) -> int:
    """As `process.wait`, which ray.cancel could not interrupt."""
    while process.poll() is None:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return process.returncode
