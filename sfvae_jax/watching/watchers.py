"""Watchers of a training run receive what it writes, and never change what it computes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import ml_collections

from sfvae_jax.errors import UsageError, in_one_line
from sfvae_jax.evaluation.figures import Drawing
from sfvae_jax.options import shown
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.watching import event_folder
from sfvae_jax.watching.background import Background
from sfvae_jax.watching.event_file import (
    MEASURES,
    EventFile,
    grouped,
    require_tensorboard,
    values_of,
)
from sfvae_jax.watching.profile import Profile, Steps, checked

log = logging.getLogger("sfvae_jax")

# A function of the caller, which takes a step and its values by name.
OnMetrics = Callable[[int, dict[str, float]], Any]


class Watchers:
    """The watchers of one run: a function, event files, a profile, and the pictures of steps.

    Only the main process tells them anything. A context manager; at its end all pictures are drawn.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        files: Workdir,
        on_metrics: OnMetrics | None = None,
        *,
        tensorboard: bool = False,
        profile: Steps | None = None,
    ) -> None:
        """Checks what is asked for; nothing is written yet.

        Args:
            config: the run's resolved configuration.
            files: its workdir.
            on_metrics: receives the values of each recorded step.
            tensorboard: whether event files are written.
            profile: the first and the last step of a trace.

        Raises:
            UsageError: if on_metrics is no function, tensorboardX is not installed, or there are
                no such steps.
        """
        if not (on_metrics is None or callable(on_metrics)):
            raise UsageError(
                f"on_metrics must be a function of a step and its metrics, got {shown(on_metrics)}"
            )
        if tensorboard:
            require_tensorboard()
        steps = None if profile is None else checked(profile, config.train.steps)
        is_main = processes.is_main()
        self._config, self._files = config, files
        self._on_metrics = on_metrics if is_main else None
        self._has_events = tensorboard and is_main
        self._events: EventFile | None = None
        self._profile = Profile(steps, files.folder / "profile") if steps and is_main else None
        self._pictures = Background()
        self._error: Exception | None = None  # of `on_metrics`
        self._step = 0

    def begin(self, start: int) -> None:
        """Begins, before the records after `start` are dropped.

        Args:
            start: the step from which the run goes on.
        """
        self._step = start
        if self._on_metrics is None and not self._has_events:
            return
        records = self._files.read_metrics()
        last = records[-1]["step"] if records else 0
        if self._on_metrics is not None and last > start:
            again = "on_metrics receives steps %d to %d again, because they are repeated"
            log.info(again, start + 1, last)
        if self._has_events:
            self._events = event_folder.go_on(self._config, self._files, start, records)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *unused: Any) -> None:
        """Finishes everything, and raises what `on_metrics` raised, in every process."""
        self._pictures.finish()
        if self._profile is not None:
            self._profile.close(self._step)
        if self._events is not None:
            self._events.close()
        if kind is None:
            with processes.agreed():
                if self._error is not None:
                    raise self._error

    def call(self, before: int, end: int) -> AbstractContextManager[None]:
        """Returns a context for the call that takes the steps after `before`, up to `end`."""
        if self._profile is None:
            return contextlib.nullcontext()
        return self._profile.call(before, end)

    def recorded(self, end: int, records: Iterable[Mapping[str, Any]]) -> None:
        """Tells the records that metrics.jsonl has received, of a call up to the step `end`."""
        self._step = end
        for record in records:
            self._tell(record["step"], values_of(record))

    def saved(self) -> None:
        """Makes event files survive as long as the checkpoint that is about to be saved."""
        if self._events is not None:
            self._events.flush()

    def measured(
        self, step: int, measures: Mapping[str, float | None], drawings: Sequence[Drawing]
    ) -> None:
        """Tells the measures of a step that apply to the model, and has its pictures drawn."""
        self._tell(step, grouped(MEASURES, measures))
        if drawings:
            self._pictures.begin(step, lambda: self._draw(step, drawings))

    def failed(self) -> bool:
        """Whether `on_metrics` raised an error, so that training saves and stops.

        All processes must call this.
        """
        return processes.any_of(self._error is not None)

    def _tell(self, step: int, values: dict[str, float]) -> None:
        if not values:
            return
        if self._events is not None:
            self._events.scalars(step, values)
        if self._on_metrics is None or self._error is not None:
            return
        try:
            self._on_metrics(step, values)
        except Exception as error:  # raised again once the state is saved
            log.warning("on_metrics failed at step %d: training saves and stops", step)
            self._error = error

    def _draw(self, step: int, drawings: Sequence[Drawing]) -> None:
        """Draws the pictures of a step; runs in another thread."""
        with self._files.drawing(step) as folder:
            for name, draw in drawings:
                try:
                    draw(folder / name)
                except Exception as error:
                    log.warning(
                        "%s of step %d is not drawn: %s; training goes on",
                        name,
                        step,
                        in_one_line(error),
                    )
            if self._events is not None:
                for path in sorted(folder.iterdir()):
                    self._events.picture(step, f"pictures/{path.stem}", path.read_bytes())
