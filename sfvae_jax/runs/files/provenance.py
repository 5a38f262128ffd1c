"""provenance.jsonl: where and with what a run was computed, and how long it took.

Each line describes a piece of work, one call of `train` or `evaluate`. No result depends on it.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import jax

import sfvae_jax
from sfvae_jax.errors import RunError
from sfvae_jax.runs.files.results_file import is_number, is_whole_number
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.files import parse_json, read_regular

Piece = dict[str, Any]

_SECONDS_BETWEEN_WRITES = 20.0  # the most that is missing after a process is killed
_SECONDS_FOR_GIT = 10.0
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
_DECISIVE = ("sfvae_jax", "configs")  # the tracked files that decide a result


class Provenance:
    """Records one piece of work from `begin` to the end of the context. A context manager."""

    def __init__(self, began: float | None = None) -> None:
        """Starts to count the time; nothing is written.

        Args:
            began: when the process began, on the clock of `time.monotonic`, if it does nothing
                else; all its processor time counts. None: the work begins now.
        """
        self._began = time.monotonic() if began is None else began
        self._used_before = _processor_seconds() if began is None else 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(
        self, files: Workdir, work: str, step: int, *, steps_before: int | None = None
    ) -> None:
        """Adds the line and keeps it up to date; of several processes only the main one does.

        Args:
            files: those of the run, which has locked them.
            work: "train" or "evaluate".
            step: the step from which the work begins.
            steps_before: the former `train.steps` of a run that now goes on to more; None if it
                stays.

        Raises:
            RunError: if the file cannot be written.
        """
        if not processes.is_main():
            return
        date = datetime.now(UTC).timestamp() - (time.monotonic() - self._began)
        self._files, self._lines = files, _whole_lines(files.provenance)
        self._piece = {
            "work": work,
            "from_step": step,
            **({} if steps_before is None else {"steps_before": steps_before}),
            "began": datetime.fromtimestamp(date, UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "processes": jax.process_count(),
            "versions": versions(),
            **code(),
        }
        self._write()
        self._thread = threading.Thread(
            target=self._keep_up_to_date, daemon=True, name="provenance"
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: Any) -> None:
        if self._thread is None:
            return
        self._over.set()
        self._thread.join()
        with suppress(OSError, RunError):  # a full disk or a lost folder is reported elsewhere
            self._write()

    def _keep_up_to_date(self) -> None:
        with suppress(OSError, RunError):
            while not self._over.wait(_SECONDS_BETWEEN_WRITES):
                self._write()

    def _write(self) -> None:
        used = {
            "seconds": round(time.monotonic() - self._began, 1),
            "processor_seconds": round(_processor_seconds() - self._used_before, 1),
        }
        line = json.dumps({**self._piece, **used})
        self._files.write_provenance("".join(f"{text}\n" for text in (*self._lines, line)))


def read(path: Path) -> list[Piece]:
    """Reads the pieces of work in a provenance.jsonl; damaged lines are left out.

    Raises:
        OSError: if the file exists and cannot be read.
    """
    return [json.loads(line) for line in _whole_lines(path)]


@functools.cache
def machine() -> dict[str, Any]:
    """Describes the processor, the cores that this process may use, and JAX's accelerators."""
    devices = jax.devices()
    kind = devices[0].device_kind
    return {
        "processor": processor(),
        "cores": cores(),
        "accelerator": None if devices[0].platform == "cpu" else f"{len(devices)} x {kind}",
    }


@functools.cache
def processor() -> str:
    """Returns the name of the processor."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def cores() -> int:
    """Returns the number of cores that this process may use."""
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that compute a result."""
    found = {"python": platform.python_version(), "sfvae_jax": sfvae_jax.__version__}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@functools.cache
def code() -> dict[str, Any]:
    """Returns the commit of the code, and whether the library or the configs differ from it.

    Both are None if the code is not in a git repository of its own.
    """
    root = Path(sfvae_jax.__file__).resolve().parents[1]
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    if not commit:
        return {"commit": None, "changed": None}
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *_DECISIVE)
    return {"commit": commit, "changed": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    """Returns what git prints; None if git fails, is slow or is not installed."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_SECONDS_FOR_GIT
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor_seconds() -> float:
    """Returns the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def is_piece(value: Any) -> bool:
    """Whether a value is the content of a line of provenance.jsonl."""
    if not isinstance(value, dict) or not isinstance(value.get("versions"), dict):
        return False
    there = value.get("machine")
    if not isinstance(there, dict) or not is_whole_number(there.get("cores")):
        return False
    texts = (value.get("work"), value.get("began"), there.get("processor"))
    maybe = (value.get("commit"), there.get("accelerator"))
    numbers = (value.get("seconds"), value.get("processor_seconds"))
    counts = (value.get("from_step"), value.get("processes"))
    return (
        all(isinstance(text, str) for text in (*texts, *value["versions"].values()))
        and all(text is None or isinstance(text, str) for text in maybe)
        and value.get("changed") in (None, False, True)
        and all(map(is_number, numbers))
        and all(map(is_whole_number, counts))
    )


def _whole_lines(path: Path) -> list[str]:
    try:
        lines = read_regular(path).splitlines()
    except FileNotFoundError:
        return []
    return [line.decode() for line in lines if _is_whole(line)]


def _is_whole(line: bytes) -> bool:
    try:
        return is_piece(parse_json(line))
    except ValueError:
        return False
