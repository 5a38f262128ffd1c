"""The model of a checkpoint as evaluations take it, during training and after it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import ml_collections
import numpy as np

from sfvae_jax import data, evaluation, likelihoods, objectives
from sfvae_jax.models import Model
from sfvae_jax.runs.files import provenance
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.training.schedules import gamma_schedule
from sfvae_jax.training.state import TrainState, averaged, make_keys

log = logging.getLogger("sfvae_jax")


def trained_model(
    config: ml_collections.ConfigDict,
    model: Model,
    state: TrainState,
    examples: np.ndarray,
    training_examples: np.ndarray | data.StoredExamples | None = None,
    splits: data.Splits | None = None,
    programs: dict | None = None,
    records: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
) -> evaluation.TrainedModel:
    """Returns a checkpoint's model with the examples to measure, and its objective's prior.

    Args:
        config: the run's resolved configuration; with `evaluations.use_ema` the model's parameters
            are their moving average.
        model: the run's model.
        state: the checkpoint.
        examples: the stored examples to measure, [N, ...].
        training_examples: the stored training examples, which a floating prior is fitted to; None:
            they are read if they are needed.
        splits: the splits of the data set; None: they are opened.
        programs: keeps what the evaluations compile, for other checkpoints of the same model.
        records: reads the records of training (`training_records`); None if they are not available.
    """
    splits = splits or data.Splits(config.data)
    trained = without_floating_prior(config, model, state, examples, splits, programs, records)
    if objectives.OBJECTIVES[config.objective.name].prior != "floating":
        return trained
    if training_examples is None:
        training_examples = splits.open_examples("train", for_evaluation=True)
    given = cast(np.ndarray, training_examples)  # stored ones are read like an array
    return dataclasses.replace(
        trained,
        prior_stddev=evaluation.floating_prior_stddev(
            dataclasses.replace(trained, images=given), config.posterior.variance
        ),
    )


def without_floating_prior(
    config: ml_collections.ConfigDict,
    model: Model,
    state: TrainState,
    examples: np.ndarray,
    splits: data.Splits,
    programs: dict | None = None,
    records: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
) -> evaluation.TrainedModel:
    """Does the same as `trained_model`, and leaves a prior that floats at 1."""
    info = objectives.OBJECTIVES[config.objective.name]
    language = data.language(config.data)
    gamma, weight = _last_gamma(config, int(state.step)), config.objective.log_det_weight
    return evaluation.TrainedModel(
        model=model,
        params=_variables(averaged(state) if config.evaluations.use_ema else state),
        images=examples,
        rng=make_keys(config.seed).evaluation,
        config=config.evaluations,
        likelihood=likelihoods.build(config.likelihood, language),
        prior_stddev=None if info.prior == "none" else 1.0,
        no_bound=""
        if info.density
        else f"objective {config.objective.name!r} does not train a density p(x|z)",
        data_scale=config.data.scale,
        gamma=gamma,
        log_det_weight=gamma if weight == "gamma" else float(weight),
        posterior_family=config.posterior.name,
        posterior_flows={key: config.posterior[key] for key in evaluation.FLOW_SIZES},
        language=language,
        step=int(state.step),
        records=records,
        images_of=splits.examples,
        labels_of=splits.labels,
        programs={} if programs is None else programs,
    )


def training_records(files: Workdir) -> list[dict[str, Any]]:
    """Returns the records of metrics.jsonl, each with the step from which its process began.

    That step is `from_step`, as in provenance.jsonl; 0 where that file does not tell.
    """
    starts = [0]
    for piece in provenance.read(files.provenance):
        step = piece.get("from_step", 0)
        if piece.get("work") == "train":  # later processes take the steps after theirs anew
            starts = [*(start for start in starts if start < step), step]
    return [
        {**record, "from_step": max((s for s in starts if s < record["step"]), default=0)}
        for record in files.read_metrics()
    ]


def _last_gamma(config: ml_collections.ConfigDict, step: int) -> float:
    """The gamma of the last step taken, as in metrics.jsonl."""
    return float(gamma_schedule(config.objective, config.train.steps)(max(step - 1, 0)))


def _variables(state: TrainState) -> dict[str, Any]:
    """The model's variables: normalised kernels, and BatchNorm's running averages if it has any."""
    params, _ = objectives.spectral_normalize(state.params, state.vectors)
    return {**params, "batch_stats": state.batch_stats} if state.batch_stats else params


def measure(trained: evaluation.TrainedModel) -> dict[str, Any]:
    """Takes all measures of a model, as entries of results.json.

    They are those of `evaluation.measure`, and "prior_stddev" if the prior floats.
    """
    with jax.default_matmul_precision("float32"):  # accelerators would round more
        entries: dict[str, Any] = evaluation.measure(trained)._asdict()
    if np.ndim(trained.prior_stddev):
        entries["prior_stddev"] = [float(value) for value in trained.prior_stddev]
    return entries


def log_caveats(caveats: Mapping[str, str]) -> None:
    """Logs each caveat with the measures that it applies to."""
    for caveat in dict.fromkeys(caveats.values()):
        names = [name for name, other in caveats.items() if other == caveat]
        log.warning("%s: %s", ", ".join(names), caveat)
