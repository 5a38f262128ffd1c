"""Evaluates a run's last checkpoint: measures go to results.json, pictures to figures/.

If the run may stop early, the model with the best validation loss is evaluated.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import jax
import ml_collections

from sfvae_jax import data, evaluation, models
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.figures import draw_all
from sfvae_jax.evaluation.pictures import run_pictures
from sfvae_jax.evaluation.style import title_of
from sfvae_jax.measuring import final_measures
from sfvae_jax.measuring.trained import log_caveats, measure, trained_model, training_records
from sfvae_jax.paths import shown
from sfvae_jax.runs.checkpoints.folders import checkpoint_steps
from sfvae_jax.runs.checkpoints.proof import proof
from sfvae_jax.runs.checkpoints.restoring import last_step, read_state, read_step
from sfvae_jax.runs.data_fingerprint import data_changes, with_fingerprint
from sfvae_jax.runs.files.provenance import Provenance
from sfvae_jax.runs.plugin_files import keep_plugins, tell_changed_plugins
from sfvae_jax.runs.process_agreement import require_same
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.devices import SMALLER_DATA, memory_for
from sfvae_jax.training.early_stopping import best_of, best_step, has_stopped, with_best
from sfvae_jax.training.state import TrainState, create_state, make_optimizer
from sfvae_jax.watching import event_folder
from sfvae_jax.watching.event_file import require_tensorboard

log = logging.getLogger("sfvae_jax")


@memory_for("evaluations", "make evaluations.batch_size smaller")
def evaluate(
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike,
    *,
    tensorboard: bool = False,
    began: float | None = None,
) -> dict[str, float | None]:
    """Runs the config's evaluations on the last checkpoint, and draws the run's pictures.

    Args:
        config: the config that the run was trained with.
        workdir: the run's folder.
        tensorboard: whether measures and pictures are added to the event files of the run, in
            workdir/tensorboard.
        began: when the command began, on the clock of `time.monotonic`, if it does nothing else;
            None: now. The run's provenance counts time from then on.

    Returns:
        The measures, as results.json has them under "metrics".

    Raises:
        UsageError: if the workdir holds no checkpoint of this config, or tensorboardX is asked for
            and is not installed.
    """
    # ---- the run ----
    provenance = Provenance(began)
    with processes.agreed(), memory_for("the data set", SMALLER_DATA):
        config = resolve(config)
        if tensorboard:
            require_tensorboard()
        splits = data.Splits(config.data)
        config = with_fingerprint(config, splits)
        files = Workdir(workdir)
        if not files.config.exists():
            raise UsageError(f"workdir {files.name} holds no run; train first (--mode=train)")
        files.check(config, base_config(plugins=config.plugins))
        files.check_checkpoints(config.train.checkpoint_every)
        tell_changed_plugins(config, files)
        changed = data_changes(config.data, splits, files)
    require_same(config, "evaluate")

    with files.locked(), provenance:
        with processes.agreed():
            files.set_damage_aside()

        # ---- model and examples ----
        with processes.agreed(), memory_for("the data set", SMALLER_DATA):
            examples = splits.examples(config.evaluations.part)
        model, last = restore(config, files, examples.shape[1:])
        state = best_of(last)
        if state is not last:
            best = "evaluating step %d, which has the best validation loss up to step %d"
            log.info(best, int(state.step), int(last.step))
        if config.evaluations.use_ema:
            log.info("evaluating the moving average of the parameters")
        provenance.begin(files, "evaluate", int(last.step))
        keep_plugins(config, files)
        trained = trained_model(
            config,
            model,
            state,
            examples,
            splits=splits,
            records=functools.partial(training_records, files),
        )

        # ---- measures, then pictures; every process measures, so that none waits for long ----
        entries = measure(trained)
        _add_caveat(entries, changed)
        entries |= {"step": int(state.step), "checkpoint": proof(state)["digest"]}
        entries |= _end(last, config)
        _log_measures(entries)
        with processes.agreed():
            if processes.is_main():
                entries = _write(config, files, entries, int(last.step))
        with processes.agreed():
            if processes.is_main():
                draw(config, files, trained)
                if tensorboard:
                    event_folder.add_results(config, files, int(last.step), entries)
    log.info("results: %s; pictures: %s", shown(files.results), shown(files.figures))
    return entries["metrics"]


def _add_caveat(entries: dict[str, Any], changed: str) -> None:
    """Adds to every measure the caveat that the data have changed since training."""
    if not changed:
        return
    caveats = entries["caveats"]
    for name, value in entries["metrics"].items():
        if value is not None:
            text = f"measured on other data than the run was trained on: {changed}"
            caveats[name] = "; ".join(filter(None, [text, caveats.get(name)]))


def _end(state: TrainState, config: ml_collections.ConfigDict) -> dict[str, int]:
    """Returns where a run that may stop early ended, which the measured step does not tell."""
    step = int(state.step)
    ended = has_stopped(state, config.train) or step == config.train.steps
    return {"ended_at": step} if ended and config.train.stop_patience else {}


def _write(
    config: ml_collections.ConfigDict, files: Workdir, entries: dict[str, Any], last: int
) -> dict[str, Any]:
    """Adds measures to those of the same checkpoint, and replaces those of another checkpoint.

    The figures of another checkpoint are moved out of the way. What was measured during training is
    kept up to the last checkpoint's step.

    Returns:
        The entries of results.json.
    """
    files.cut_results(last)
    found = files.read_results()
    if final_measures.still_valid(found, config, entries["step"], entries["checkpoint"]) is None:
        if "metrics" in found:
            log.info("replacing the measures of another checkpoint, other parameters or other data")
        files.set_figures_aside()
    entries = final_measures.combined(found, config, entries)
    files.write_results(config, **entries)
    return entries


def _log_measures(entries: dict[str, Any]) -> None:
    """Logs a line for each measure, and each caveat with the measures that it applies to."""
    for name, value in entries["metrics"].items():
        reason = entries["not_applicable"].get(name)
        doubt = " (doubtful, see below)" if name in entries["caveats"] else ""
        text = f", {entries['texts'][name]}" if name in entries["texts"] else ""
        result = f"does not apply: {reason}" if reason else f"{value:.4g}{text}{doubt}"
        log.info("%s: %s", name, result)
    log_caveats(entries["caveats"])


def restore(
    config: ml_collections.ConfigDict,
    files: Workdir,
    data_shape: tuple,
    step: int | None = None,
) -> tuple[models.Model, TrainState]:
    """Returns a run's model and the state of a checkpoint.

    Args:
        config: the resolved config.
        files: the run's files.
        data_shape: shape of one example.
        step: that of the checkpoint; None: the last. The last checkpoint also has the model of the
            best validation of a run that may stop early, and is returned for the step of that.

    Raises:
        UsageError: if there is no checkpoint yet, or not that of this step.
    """
    model = models.build(config, data_shape)

    def start() -> TrainState:
        state = create_state(config, model, make_optimizer(config.train), data_shape)
        return with_best(state, config.train)

    fresh = jax.eval_shape(start)  # what is read takes its place, so none of it is computed
    if last_step(files.checkpoints) is None:
        raise UsageError(f"workdir {files.name} holds no checkpoint yet; train first")
    if step is None:
        return model, read_state(files.checkpoints, fresh)
    found = read_step(files.checkpoints, step, fresh)
    if found is None:
        found = read_state(files.checkpoints, fresh)
        if best_step(found) != step:
            steps = checkpoint_steps(files.checkpoints)
            why = "is damaged" if step in steps else "is not kept"
            raise UsageError(
                f"workdir {files.name}: the checkpoint of step {step} {why}; choose from"
                f" {', '.join(map(str, sorted(steps)))}"
            )
    return model, found


def draw(
    config: ml_collections.ConfigDict, files: Workdir, trained: evaluation.TrainedModel
) -> None:
    """Draws training curves, the latents' KL divergences, images and the evaluations' pictures.

    Raises:
        RunError: if they cannot be written, or the workdir no longer belongs to this run.
    """
    title = title_of(config.objective.name, config.data.name)
    results = files.read_results()
    with files.drawing() as folder:
        if not run_pictures.draw_training(files.read_metrics(), title, folder):
            log.warning(
                "%s holds no records, so that training.png is not drawn", shown(files.metrics)
            )
    with files.drawing() as folder:
        draw_all(run_pictures.latent_kl(trained, title), folder)
    for name in config.evaluations.names:
        with files.drawing() as folder:
            evaluation.draw(trained, name, results, title, folder)
    if trained.language is None:
        with files.drawing() as folder:
            draw_all(run_pictures.images(trained, config.model.latent_size, title), folder)
