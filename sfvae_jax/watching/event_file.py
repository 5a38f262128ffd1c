"""Event files that TensorBoard reads, written without TensorFlow and PyTorch."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from sfvae_jax import evaluation
from sfvae_jax.errors import UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runs.files.config_file import decides_training, flatten, plain

log = logging.getLogger("sfvae_jax")

# The group of the measures of `evaluate`.
FINAL = "final"
# The group of the measures at `evaluations.steps`.
MEASURES = "measures"
_SECONDS_BETWEEN_FLUSHES = 5.0
_RGBA = 4  # what TensorBoard calls the colours of matplotlib's PNGs
# The groups of the values of metrics.jsonl; those that are not named are parts of the loss.
_GROUPS = {
    "learning_rate": "schedules",
    "gamma": "schedules",
    "beta": "schedules",
    "entropy_weight": "schedules",
    "grad_norm": "norms",
    "param_norm": "norms",
    "steps_per_second": "speed",
}


def require_tensorboard() -> None:
    """Checks that event files can be written.

    Raises:
        UsageError: if tensorboardX is not installed.
    """
    try:
        _module("event_file_writer")
    except ImportError as error:
        raise UsageError(
            "--tensorboard requires tensorboardX, which is not installed;"
            " pip install 'sfvae_jax[tensorboard]'"
        ) from error


def tag_of(name: str) -> str:
    """Returns the tag of a value of metrics.jsonl, GROUP/NAME; a name with a group stays."""
    return name if "/" in name else f"{_GROUPS.get(name, 'loss')}/{name}"


def grouped(group: str, measures: Mapping[str, float | None]) -> dict[str, float]:
    """Returns the measures that apply to the model, by GROUP/NAME."""
    return {f"{group}/{name}": value for name, value in measures.items() if value is not None}


def values_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the values of a record of metrics.jsonl, without its step."""
    return {name: value for name, value in record.items() if name != "step"}


class EventFile:
    """A new event file in a folder. Any thread may call its methods.

    If it cannot be written, a warning says so once and the run goes on without it.
    """

    def __init__(self, folder: Path, ending: str = "") -> None:
        """Begins the file.

        Args:
            folder: made if its parent exists.
            ending: the end of the file's name, behind the time.
        """
        self._folder, self._lock, self._next_flush = folder, threading.Lock(), 0.0
        self._event = _module("proto.event_pb2")
        self._summary = _module("proto.summary_pb2").Summary
        self._writer: Any = None
        with self._telling():
            folder.mkdir(exist_ok=True)
            # The time in nanoseconds, because tensorboardX would replace a file of this second.
            prefix, name = str(folder / "events"), f".{time.time_ns()}{ending}"
            self._writer = _module("event_file_writer").EventsWriter(prefix, name)

    def purge(self, step: int) -> None:
        """Lets TensorBoard drop what earlier files have of this step and later ones."""
        start = self._event.SessionLog(status=self._event.SessionLog.START)
        self._write(step, session_log=start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers of a step, by their names in metrics.jsonl or GROUP/NAME."""
        found = [
            self._summary.Value(tag=tag_of(name), simple_value=value)
            for name, value in values.items()
        ]
        self._write(step, summary=self._summary(value=found))

    def picture(self, step: int, tag: str, png: bytes) -> None:
        """Adds a PNG as it is."""
        width, height = struct.unpack(">II", png[16:24])
        image = self._summary.Image(
            width=width, height=height, colorspace=_RGBA, encoded_image_string=png
        )
        self._write(step, summary=self._summary(value=[self._summary.Value(tag=tag, image=image)]))

    def settings(
        self, config: ml_collections.ConfigDict, defaults: ml_collections.ConfigDict
    ) -> None:
        """Adds the configuration, as a text and as hyperparameters.

        Args:
            config: resolved.
            defaults: values that are left out of the hyperparameters.
        """
        summary = _module("summary")
        text = json.dumps(plain(config), indent=2)
        self._write(0, summary=summary.text("config", f"```json\n{text}\n```"))
        names = [
            metric
            for evaluated in config.evaluations.names
            for metric in evaluation.metric_names(config.evaluations, evaluated)
        ]
        metrics = dict.fromkeys(["loss/loss", *(f"{FINAL}/{name}" for name in names)])
        about, values, _ = summary.hparams(_changed(config, defaults), metrics)
        self._write(0, summary=about)
        self._write(0, summary=values)

    def flush(self) -> None:
        """Makes what was added survive a failure of the machine."""
        with self._telling():
            if self._writer is not None:
                self._flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        with self._telling():
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _write(self, step: int, **content: Any) -> None:
        event = self._event.Event(wall_time=time.time(), step=step, **content)
        with self._telling():
            if self._writer is None:
                return
            self._writer.write_event(event)
            if time.monotonic() >= self._next_flush:
                self._flush()

    def _flush(self) -> None:
        self._next_flush = time.monotonic() + _SECONDS_BETWEEN_FLUSHES
        self._writer.flush()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Tells of an error in writing, and writes no more."""
        with self._lock:
            try:
                yield
            except OSError as error:  # such as a full disk
                self._writer = None
                log.warning(
                    "cannot write %s: %s; the run goes on without TensorBoard",
                    shown(self._folder),
                    error.strerror,
                )


def _module(name: str) -> Any:
    """Returns a module of tensorboardX, which would load PyTorch for nothing if it found it."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(f"tensorboardX.{name}")
    finally:
        if hidden:
            del sys.modules["torch"]


# Hyperparameters that are shown even if they have their default values.
_MAIN = {"seed", "data.name", "model.name", "model.latent_size", "posterior.name"}
_MAIN |= {"likelihood.name", "objective.name", "train.batch_size", "train.learning_rate"}


def _changed(
    config: ml_collections.ConfigDict, defaults: ml_collections.ConfigDict
) -> dict[str, Any]:
    """Returns the keys of the training that differ from their defaults, and the main ones."""
    now, before = flatten(plain(config)), flatten(plain(defaults))
    kept = {
        key: value
        for key, value in now.items()
        if value is not None and _is_shown(key) and (key in _MAIN or value != before.get(key))
    }
    return {
        key: value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
        for key, value in kept.items()
    }


def _is_shown(key: str) -> bool:
    return decides_training(key) and not key.startswith("evaluations.")
