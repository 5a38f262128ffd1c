"""Starts the process of one run, with a log, and reads from the log how it ended."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import Signals

from launch.backends import tied

_HEADER = "+ "
_TAIL = 2**16  # bytes at the end of a log that hold its last error


def start(
    arguments: Sequence[str],
    log: Path,
    dies_by: Signals,
    *,
    environment: Mapping[str, str] | None = None,
    cores: Sequence[int] = (),
) -> subprocess.Popen:
    """Starts `python -m sfvae_jax.main` and appends its output to a log.

    The process has a session of its own, so that Ctrl-C reaches it only through the sweep.

    Args:
        arguments: the arguments of the command.
        log: the log file; its folder exists.
        dies_by: the signal that the process receives when this process ends.
        environment: variables in addition to those of this process.
        cores: numbers of the cores that it may use; (): all.

    Raises:
        OSError: if the log cannot be written, or the process cannot be started.
    """
    command = [sys.executable, "-m", "sfvae_jax.main", *arguments]
    tie = [sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), str(int(dies_by))]
    tie.append(",".join(map(str, cores)))
    with log.open("ab") as file:
        file.write(f"{_HEADER}{shlex.join(command)}\n".encode(errors="surrogateescape"))
        file.flush()
        return subprocess.Popen(
            [*tie, *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


def ending(status: int, log: Path) -> str:
    """Returns how a process failed: its last error line, or the signal that killed it."""
    if status < 0:
        name = Signals(-status).name
        cause = ", as when memory runs out" if name == "SIGKILL" else ""
        return f"killed by {name}{cause}"
    lines = _last_lines(log)
    errors = [line for line in lines if line.startswith("sfvae_jax: error: ")]
    return (errors or lines or [f"exit status {status}"])[-1]


def _last_lines(log: Path) -> list[str]:
    """Returns the lines that the last process wrote to a log, without empty ones."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    headers = [number for number, line in enumerate(lines) if line.startswith(_HEADER)]
    last = lines[headers[-1] + 1 :] if headers else lines
    return [line.strip() for line in last if line.strip()]
