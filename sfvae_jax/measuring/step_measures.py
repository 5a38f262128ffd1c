"""The measures that a run takes during training, at the steps in `evaluations.steps`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax import data
from sfvae_jax.errors import in_one_line
from sfvae_jax.evaluation.figures import Drawing
from sfvae_jax.evaluation.pictures import run_pictures
from sfvae_jax.evaluation.style import title_of
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.measuring.trained import measure, trained_model, training_records
from sfvae_jax.models import Model
from sfvae_jax.runs.checkpoints.restoring import read_step
from sfvae_jax.runs.files import figures
from sfvae_jax.runs.files.results_file import not_measured
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.training.state import TrainState

log = logging.getLogger("sfvae_jax")

# Takes a step, its measures, and its pictures, whose values are computed.
WhenTaken = Callable[[int, Mapping[str, float | None], Sequence[Drawing]], None]


def _nothing(step: int, measures: Mapping[str, float | None], drawings: Sequence[Drawing]) -> None:
    """Does nothing."""


class StepMeasures:
    """Takes measures at named steps, and keeps them in results.json under "history"."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        model: Model,
        files: Workdir,
        splits: data.Splits,
        training_examples: np.ndarray | data.StoredExamples | None,
        when_taken: WhenTaken = _nothing,
    ) -> None:
        """Continues with the measures in results.json.

        Args:
            config: the run's resolved configuration.
            model: the run's model.
            files: the run's workdir.
            splits: the splits of its data set.
            training_examples: the stored ones, to which a floating prior is fitted; None: they are
                read if they are needed.
            when_taken: is called after the measures of a step are in results.json.
        """
        self._when_taken = when_taken
        self._config, self._model, self._files = config, model, files
        self._splits, self._training_examples = splits, training_examples
        self._programs: dict = {}  # compiled at the first named step, for all of them
        kept = files.read_results()
        self._history = kept.get("history", {})
        self._caveats = kept.get("history_caveats", {})

    def are_due(self, step: int) -> bool:
        """Returns whether this step still has to be measured, as the main process sees it."""
        if step not in self._config.evaluations.steps:
            return False
        return not processes.broadcast_numbers([str(step) in self._history])[0]

    def take_lost(self, like: TrainState) -> None:
        """Takes the measures and pictures of earlier steps that the run should have but lacks.

        If the checkpoint of such a step is gone, a warning says that its measures are lost.

        Args:
            like: the state from which the run continues.
        """
        self._draw_lost(like)  # before others are measured, whose pictures are then being drawn
        steps = self._config.evaluations.steps
        lost = not_measured(self._history, steps, int(like.step) - 1)
        for step in processes.broadcast_numbers(lost):
            state = read_step(self._files.checkpoints, step, like)
            if state is not None:
                log.warning(
                    "results.json lacks the measures of step %d; they are taken again", step
                )
                self.take(state)
            else:
                log.warning(
                    "results.json lacks measures of step %d, whose checkpoint is no longer there:"
                    " they are lost",
                    step,
                )

    def take(self, state: TrainState) -> None:
        """Takes the measures of a state, which must have been saved before, unless it is step 0."""
        step, trained = int(state.step), self._trained(state)
        measured = measure(trained)
        drawings = self._drawings(trained, step)
        trained.shared.clear()  # frees it, although compiled functions still refer to this model
        for caveat in dict.fromkeys(measured["caveats"].values()):
            log.warning("evaluations at step %d: %s", step, caveat)
        self._history[str(step)] = measured["metrics"]
        self._caveats[str(step)] = measured["caveats"]
        self._files.write_results(
            self._config, history=_in_order(self._history), history_caveats=_in_order(self._caveats)
        )
        self._when_taken(step, measured["metrics"], drawings)

    def _draw_lost(self, like: TrainState) -> None:
        """Draws the pictures of measured steps that are missing, if the checkpoints are there.

        A process that was killed may have left them undrawn.
        """
        if not self._config.evaluations.step_pictures:
            return
        steps = [step for step in self._config.evaluations.steps if step <= int(like.step)]
        measured = [step for step in steps if str(step) in self._history]
        lost = [s for s in measured if not figures.of_step(self._files.figures, s).is_dir()]
        for step in processes.broadcast_numbers(lost):
            state = read_step(self._files.checkpoints, step, like)
            if state is not None and processes.is_main():
                self._when_taken(step, {}, self._drawings(self._trained(state), step))

    def _trained(self, state: TrainState) -> TrainedModel:
        return trained_model(
            self._config,
            self._model,
            state,
            self._splits.examples(self._config.evaluations.part),
            self._training_examples,
            self._splits,
            self._programs,
            functools.partial(training_records, self._files),
        )

    def _drawings(self, trained: TrainedModel, step: int) -> list[Drawing]:
        """Computes the pictures of a step; the main process draws them while training goes on."""
        config = self._config
        if not (config.evaluations.step_pictures and processes.is_main()):
            return []
        title = title_of(config.objective.name, config.data.name)
        try:
            return list(run_pictures.at_a_step(trained, config.model.latent_size, title))
        except Exception as error:  # such as too little memory; the measures are there
            reason = in_one_line(error)
            log.warning("the pictures of step %d are not drawn: %s; training goes on", step, reason)
            return []


def _in_order(history: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(history.items(), key=lambda entry: int(entry[0])))
