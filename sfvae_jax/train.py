"""The training of a run: config -> data -> model -> objective -> step -> checkpoint."""

from __future__ import annotations

import functools
import logging
import math
import os
from contextlib import closing
from typing import Any

import jax
import ml_collections
import numpy as np

from sfvae_jax import data, evaluation, left_open, models, objectives
from sfvae_jax.config import base_config, resolve, unfulfilled
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.measuring.step_measures import StepMeasures
from sfvae_jax.runs import going_on
from sfvae_jax.runs.checkpoints.restoring import last_step
from sfvae_jax.runs.checkpoints.saving import Checkpoints
from sfvae_jax.runs.data_fingerprint import refuse_changes, with_fingerprint
from sfvae_jax.runs.decoder_from import with_decoder_from
from sfvae_jax.runs.files import example_file
from sfvae_jax.runs.files.provenance import Provenance
from sfvae_jax.runs.plugin_files import keep_plugins, tell_changed_plugins
from sfvae_jax.runs.process_agreement import require_same
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.devices import SMALLER_DATA, memory_for
from sfvae_jax.runtime.signals import StopSignals
from sfvae_jax.runtime.start_up_time import StartUp
from sfvae_jax.training.calls import call_ends
from sfvae_jax.training.early_stopping import has_stopped, with_best
from sfvae_jax.training.learning_rate import learning_rate
from sfvae_jax.training.losses.not_finite import advice
from sfvae_jax.training.memory_needs import check_sizes
from sfvae_jax.training.parallel import AXIS_NAME, ParallelSteps, check_shares
from sfvae_jax.training.progress import Progress
from sfvae_jax.training.state import (
    TrainState,
    create_state,
    is_finite,
    make_keys,
    make_optimizer,
)
from sfvae_jax.training.step import is_recorded, make_train_step
from sfvae_jax.training.validation import Validation
from sfvae_jax.watching.profile import Steps
from sfvae_jax.watching.watchers import OnMetrics, Watchers

log = logging.getLogger("sfvae_jax")

_FEWER_EXAMPLES = (
    "make data.device_bytes smaller, so that they are streamed, or data.num_examples smaller"
)


@memory_for(
    "training",
    "make train.batch_size smaller (0 takes all examples), set train.microbatch, or make the model"
    " smaller",
)
def train(
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike,
    *,
    on_metrics: OnMetrics | None = None,
    tensorboard: bool = False,
    profile: Steps | None = None,
    began: float | None = None,
    signals: StopSignals | None = None,
) -> None:
    """Trains up to `train.steps`, starting from the last checkpoint in the workdir if there is one.

    Training stops earlier after `train.stop_patience` validations without a new lowest loss.

    Args:
        config: the configuration, as a file in configs/ returns it.
        workdir: folder for everything that is written.
        on_metrics: is called with each step that metrics.jsonl records and a dictionary of its
            values, and with each step in `evaluations.steps` and its measures, "measures/NAME". If
            it raises an error, training saves, stops and raises that error.
        tensorboard: whether event files are written to workdir/tensorboard.
        profile: the first and the last step of a trace by JAX's profiler, in workdir/profile.
        began: when the command began, on the clock of `time.monotonic`; None: now. The log shows
            the time from then to the first steps.
        signals: entered by the caller; at one of them training saves and stops. None: no signals.

    Raises:
        Stopped: if a signal came; the state is saved.
        UsageError: if the request is impossible; nothing has been trained.
        RunError: if the loss becomes non-finite, memory runs out or a file cannot be written;
            earlier checkpoints are kept.
    """
    # ---- the request, refused here if it is impossible ----
    start_up, provenance = StartUp(began), Provenance(began)
    signals = signals or StopSignals()
    with processes.agreed(), memory_for("the data set", SMALLER_DATA):
        chosen = left_open.open_keys(config)
        config = resolve(config)
        splits = data.Splits(config.data)
        config = with_fingerprint(config, splits)
        files = Workdir(workdir)
        before = going_on.check(files, config, base_config(plugins=config.plugins))
        refuse_changes(config.data, splits, files)
        tell_changed_plugins(config, files)
        files.check_checkpoints(config.train.checkpoint_every)
        watchers = Watchers(config, files, on_metrics, tensorboard=tensorboard, profile=profile)
        stored = splits.open_examples("train")
        shape, batch_size = stored.shape[1:], config.train.batch_size or len(stored)
        _check_batches(config, stored, batch_size)
        model = models.build(config, shape)
        _check_splits(config, splits)
    require_same(config, "train")

    # ---- training examples: on the devices, or streamed to them ----
    streamed = processes.any_of(not _fits(config, stored))
    with processes.agreed(), memory_for("the training examples", _FEWER_EXAMPLES):
        itemsize = stored.dtype.itemsize
        check_sizes(config, model, shape, itemsize, batch_size, streamed=streamed)
        examples = stored if streamed else stored.all()
        del stored
        held_out = splits.examples("valid") if config.train.validate_every else None
    # A floating prior is fitted to the examples as they are evaluated, binarised once.
    for_prior = None if config.data.binarization == "dynamic" else examples

    # ---- objective, step ----
    optimizer = make_optimizer(config.train)
    step_fn = make_train_step(config, model, optimizer, axis_name=AXIS_NAME)
    rng = make_keys(config.seed).training
    with memory_for("the training examples", _FEWER_EXAMPLES):
        on_device = examples if isinstance(examples, np.ndarray) else None
        parallelism = config.train.parallelism
        steps = ParallelSteps(step_fn, on_device, batch_size, rng, parallelism=parallelism)
    validation = None if held_out is None else Validation(config, model, held_out)
    state = create_state(config, model, optimizer, shape)
    if config.train.decoder_from and last_step(files.checkpoints) is None:
        state = with_decoder_from(config, state)
    state = steps.place(with_best(state, config.train))

    # ---- the workdir, and the checkpoint from which to resume ----
    kept = config.train.checkpoints_kept
    claim = files.claimed(before, base_config(plugins=config.plugins))
    saving = signals.deferred()
    with (
        claim,
        provenance,
        saving,
        watchers,
        Checkpoints(files.checkpoints, kept, files.check_owner) as checkpoints,
    ):
        if checkpoints.last_step is not None:
            state = checkpoints.restore(state)
        steps_before = going_on.begin(files, before, config, state)
        start = int(state.step)
        watchers.begin(start)
        files.cut_metrics(start, lambda steps: is_recorded(steps, config.train))
        files.cut_results(start)
        example_file.write(files, shape)
        provenance.begin(files, "train", start, steps_before=steps_before)
        keep_plugins(config, files)
        measurements = StepMeasures(
            config, model, files, splits, for_prior, when_taken=watchers.measured
        )
        _log_run(config, examples, state.params, files, start)
        if chosen:
            log.info("chosen by the data: %s", left_open.told(config, chosen))
        with signals.at_once():
            measurements.take_lost(state)
            if measurements.are_due(start):
                measurements.take(state)

        # ---- the loop: one call of the devices, then the host's part ----
        step = start
        every = (
            config.train.steps_per_call,
            config.train.checkpoint_every,
            config.train.validate_every or config.train.steps,
        )
        is_over = has_stopped(state, config.train) or watchers.failed()
        total = start if is_over else config.train.steps
        at = config.evaluations.steps
        ends = functools.partial(call_ends, start, total, every=every, at=at)
        longest = min(config.train.steps, *every)
        order = data.BatchOrder(config.seed, len(examples), batch_size, steps.share)
        if isinstance(examples, np.ndarray):
            calls = data.index_batches(order, start, ends())
        else:
            calls = data.example_batches(
                examples, order, start, ends(), last=total, longest=longest
            )
        with Progress(start, total) as progress, closing(calls) as batches:
            for end, batch in zip(ends(), batches, strict=True):
                with watchers.call(step, end):
                    state, metrics = steps(state, batch, longest)
                if step == start:
                    log.info("first steps after %s", start_up)
                _stop_if_not_finite(metrics, state, step, config, checkpoints)
                rate = progress.update(end, float(metrics["loss"][-1]))
                held_out_loss = None
                if validation is not None and end % config.train.validate_every == 0:
                    held_out_loss = validation.loss(state)
                    _stop_if_no_loss(held_out_loss, end, checkpoints)
                    state = steps.place(validation.observe(state, held_out_loss))
                records = _records(metrics, step, rate, config.train, held_out_loss)
                files.append_metrics(records)
                watchers.recorded(end, records)
                stopping = signals.came() or watchers.failed()
                ended = has_stopped(state, config.train)
                if stopping or ended or _is_saved(end, config):
                    files.sync_metrics()
                    watchers.saved()
                    checkpoints.save(state)
                if stopping:
                    log.info("saved at step %d of %d", end, config.train.steps)
                    break
                if measurements.are_due(end):
                    checkpoints.wait()  # results.json never holds a step that is not saved
                    with signals.at_once():
                        measurements.take(state)
                    ended |= watchers.failed()
                if ended:
                    break
                step = end
                progress.go_on()
        if has_stopped(state, config.train) and int(state.step) < config.train.steps:
            log.info("%s", _stopped(state, config))


def _is_saved(step: int, config: ml_collections.ConfigDict) -> bool:
    """Whether a step is saved: every `checkpoint_every`th, the last, and those to be measured."""
    named = (config.train.steps, *config.evaluations.steps)
    return step % config.train.checkpoint_every == 0 or step in named


def _check_batches(
    config: ml_collections.ConfigDict, examples: data.StoredExamples, batch_size: int
) -> None:
    """Checks that likelihood, objective and devices can take the examples and batches."""
    if batch_size > len(examples):
        raise UsageError(f"train.batch_size {batch_size} is more than the {len(examples)} examples")
    likelihood = LIKELIHOODS[config.likelihood.name]
    if likelihood.requires_bytes and examples.dtype != np.uint8:
        raise UsageError(
            f"likelihood {likelihood.name!r} requires 256 levels;"
            f" {config.data.name} holds {examples.dtype} pixels, give uint8"
        )
    name = config.objective.name
    smallest = objectives.OBJECTIVES[name].smallest_batch
    if batch_size < smallest:
        raise UsageError(
            f"objective {name!r} requires batches of {smallest} examples or more; the training"
            f" split has {batch_size}"
        )
    check_shares(batch_size, jax.device_count(), config.train.microbatch)
    if batch_size == len(examples) and not _fits(config, examples):
        raise UsageError(
            f"a batch of all {len(examples)} examples, {examples.nbytes / 2**30:.1f} GiB, is more"
            " than fits on the devices (data.device_bytes) or in memory; set train.batch_size"
        )


def _fits(config: ml_collections.ConfigDict, examples: data.StoredExamples) -> bool:
    """Whether the devices can hold the training examples."""
    num_parts = jax.device_count() if config.train.parallelism == "jit" else 1
    return data.fits_on_device(config.data, examples, num_parts)


def _check_splits(config: ml_collections.ConfigDict, splits: data.Splits) -> None:
    """Checks that the splits have what validation and evaluations need; reads no example."""
    for split, key in evaluation.needed_splits(config.evaluations).items():
        try:
            splits.check(split)
        except UsageError as error:
            raise UsageError(f"{error}; {key} needs this split") from error
    language = data.language(config.data)
    if language is not None:
        evaluation.check_language(config.evaluations, language.kind)
    labelled = evaluation.needs_labels(config.evaluations)
    if labelled and not splits.has_labels:
        raise UsageError(
            f"evaluations.names: {', '.join(labelled)} requires labels of the training images, and"
            f" data.name {config.data.name!r} has none; set evaluations.generated.features to"
            " 'inception', or remove it"
        )
    if not config.train.validate_every:
        return
    splits.check("valid")
    number = len(splits.open_examples("valid"))
    name = config.objective.name
    smallest = objectives.OBJECTIVES[name].smallest_batch
    least = 2 * smallest - 1  # so many can be split into batches of which none is too small
    if min(number, config.evaluations.batch_size) < least:
        raise UsageError(
            f"objective {name!r} requires batches of {smallest} examples or more; to validate it,"
            f" data.num_valid and evaluations.batch_size must be {least} or more"
        )


def _stopped(state: TrainState, config: ml_collections.ConfigDict) -> str:
    """Says in words why training ended before its last step, and what it leaves out."""
    end, best = int(state.step), state.best
    message = (
        f"stopped early at step {end} of {config.train.steps}: the loss on the valid split was"
        f" lowest at step {int(best.step)}, {float(best.loss):.2f}, and that model is measured"
    )
    left = [str(step) for step in config.evaluations.steps if step > end]
    return f"{message}; not reached: evaluations.steps {', '.join(left)}" if left else message


def _stop_if_no_loss(loss: float, step: int, checkpoints: Checkpoints) -> None:
    if math.isfinite(loss):
        return
    checkpoints.wait()
    raise RunError(
        f"the loss on the valid split is not finite at step {step}: {loss}; {checkpoints.kept()}"
    )


def _records(
    metrics: dict[str, np.ndarray],
    first: int,
    rate: float,
    config: ml_collections.ConfigDict,
    held_out_loss: float | None,
) -> list[dict[str, Any]]:
    """Returns the records of metrics.jsonl for one call."""
    records, learning_rates = [], learning_rate(config)
    last = first + len(metrics["loss"])
    for i in range(len(metrics["loss"])):
        step = first + i + 1
        if is_recorded(step, config):
            values = {key: float(value[i]) for key, value in metrics.items()}
            values["learning_rate"] = float(learning_rates(step - 1))
            values["learning_rate"] *= values.pop("learning_rate_scale")
            if step == last and held_out_loss is not None:
                values["validation_loss"] = held_out_loss
            records.append({"step": step, **values, "steps_per_second": rate})
    return records


def _stop_if_not_finite(
    metrics: dict[str, np.ndarray],
    state: TrainState,
    first: int,
    config: ml_collections.ConfigDict,
    checkpoints: Checkpoints,
) -> None:
    finite = np.isfinite(metrics["loss"])
    recorded = is_recorded(first + 1 + np.arange(len(finite)), config.train)
    for norm in ("grad_norm", "param_norm"):
        finite &= np.isfinite(metrics[norm]) | ~recorded
    finite[-1] &= bool(is_finite(state))
    if finite.all():
        return
    checkpoints.wait()
    step = first + int(np.argmin(finite)) + 1
    of_loss = [metrics[name][0] for name in ("loss", "grad_norm")]
    at_start = step == 1 and not np.isfinite(of_loss).all()
    raise RunError(
        f"the loss of objective {config.objective.name!r}, its gradient or its update is not finite"
        f" at step {step}; {checkpoints.kept()}. {advice(config, at_start=at_start)}"
    )


def _log_run(
    config: ml_collections.ConfigDict,
    examples: np.ndarray | data.StoredExamples,
    params: Any,
    files: Workdir,
    start: int,
) -> None:
    devices = jax.devices()
    shape = "x".join(map(str, examples.shape[1:]))
    how = "" if isinstance(examples, np.ndarray) else ", streamed"
    kind, number = f"{devices[0].device_kind} ({devices[0].platform})", jax.process_count()
    among = f" of {number} processes" if number > 1 else ""
    log.info("device: %d x %s%s", len(devices), kind, among)
    what = "images" if data.language(config.data) is None else "sequences"
    log.info("data: %s, %d training %s of %s%s", config.data.name, len(examples), what, shape, how)
    log.info("model: %s, %s parameters", config.model.name, f"{models.count_parameters(params):,}")
    if config.train.decoder_from:
        log.info("decoder: that of %s, not trained", config.train.decoder_from)
    for sentence in unfulfilled(config):
        log.warning(sentence)
    log.info("objective: %s; results go to %s", config.objective.name, files.name)
    if start:
        log.info("resuming from the checkpoint of step %d of %d", start, config.train.steps)
