"""The groups that every configuration has, and the check that a configuration makes sense."""

from __future__ import annotations

import math
from typing import Any

import ml_collections

from sfvae_jax import evaluation, models, objectives
from sfvae_jax.errors import UsageError, unknown_name

GAMMA_SCHEDULES = ("constant", "linear", "piecewise")


def base_config() -> ml_collections.ConfigDict:
    """All groups with their defaults; a config file changes what its experiment needs."""
    config = ml_collections.ConfigDict()
    config.preset = ""  # which variant of the config file this is, for the report
    config.seed = 0  # initialisation, order of the batches, noise

    config.data = ml_collections.ConfigDict()
    config.data.name = "mnist_5k"  # mnist_5k, a TFDS name, or npz:PATH
    config.data.num_examples = 0  # random training images; 0 = all
    config.data.num_valid = 0  # held out of the training images
    config.data.num_test = 0  # of the test part, 0 = all; held out where the source has none
    config.data.seed = 0  # which images are drawn; apart from `seed`, so that runs share them

    config.model = ml_collections.ConfigDict()
    config.model.name = "mlp"
    config.model.latent_size = 16
    config.model.hidden_sizes = (512, 256)  # of the encoder; the decoder has the reverse
    config.model.activation = "relu"
    config.model.initializer = "lecun_normal"

    config.posterior = ml_collections.ConfigDict()
    config.posterior.name = ""  # empty: the objective's natural posterior

    config.likelihood = ml_collections.ConfigDict()
    config.likelihood.name = "gaussian"
    config.likelihood.variance = 0.5

    config.objective = ml_collections.ConfigDict()
    config.objective.name = "sampling_free"
    config.objective.num_samples = 1  # of a sampling objective
    config.objective.gamma = 0.5  # weight of the sampling-free quadratic correction
    config.objective.gamma_schedule = "constant"
    config.objective.gamma_start = 0.95  # linear: from here to `gamma` ...
    config.objective.gamma_steps = 0  # ... over so many steps; 0 = train.steps
    config.objective.gamma_values = objectives.FIGURE_1_GAMMAS  # piecewise: these in turn ...
    config.objective.gamma_boundaries = ()  # ... from these steps on; empty = equal shares

    config.train = ml_collections.ConfigDict()
    config.train.steps = 1000
    config.train.batch_size = 0  # 0 = full batch
    config.train.learning_rate = 1e-3
    config.train.steps_per_call = 10  # steps in one call of the device
    config.train.log_every = 10
    config.train.checkpoint_every = 100
    config.train.checkpoints_kept = 3

    config.evaluations = ml_collections.ConfigDict()
    config.evaluations.names = tuple(evaluation.EVALUATIONS)
    config.evaluations.steps = ()  # besides the end
    config.evaluations.part = "test"  # train, valid or test
    config.evaluations.batch_size = 500
    for name, entry in evaluation.EVALUATIONS.items():
        config.evaluations[name] = ml_collections.ConfigDict(dict(entry.options))
    config.evaluations.num_pictured = 10  # images in figures/reconstructions.png

    config.published = ml_collections.ConfigDict()  # the paper's own figures
    return config


def validate(config: ml_collections.ConfigDict) -> None:
    """Refuses a configuration that cannot be run, before anything is loaded or written.

    Raises:
        UsageError: naming the key, its value and what was expected.
    """
    _check_names(config)
    for key in _POSITIVE_INTEGERS:
        _require(config, key, lambda value: value >= 1, "a positive whole number")
    for key in _COUNTS:
        _require(config, key, lambda value: value >= 0, "a whole number, 0 or more")
    for key in ("train.learning_rate", "likelihood.variance"):
        _require(config, key, lambda value: 0 < value < math.inf, "a positive, finite number")
    for key in ("objective.gamma", "objective.gamma_start"):
        _require(config, key, lambda value: 0 <= value <= 1, "a number in [0, 1]")
    for key in ("evaluations.collapse.epsilon", "evaluations.reconstruction.num_samples"):
        _require(config, key, lambda value: value > 0, "positive")
    _require(config, "evaluations.collapse.delta", lambda value: 0 <= value < 1, "in [0, 1)")
    _require(config, "model.hidden_sizes", _all_positive, "positive sizes, such as (512, 256)")
    _require(config, "seed", lambda value: value < 2**32, "below 2**32")
    _require(config, "evaluations.names", lambda names: len(names) > 0, "at least one name")
    _require(config, "evaluations.steps", _all_positive, "positive steps, such as (100, 1000)")
    _check_gamma_schedule(config)


def gamma_schedule(config: ml_collections.ConfigDict) -> objectives.Schedule:
    """The config's gamma as a function of the step."""
    objective, num_steps = config.objective, config.train.steps
    if objective.gamma_schedule == "linear":
        steps = objective.gamma_steps or num_steps
        return objectives.linear_gamma(objective.gamma_start, objective.gamma, steps)
    if objective.gamma_schedule == "piecewise":
        values = objective.gamma_values
        boundaries = objective.gamma_boundaries or objectives.equal_boundaries(
            len(values), num_steps
        )
        return objectives.piecewise_gamma(values, boundaries)
    return objectives.constant_gamma(objective.gamma)


_POSITIVE_INTEGERS = (
    "model.latent_size",
    "objective.num_samples",
    "train.steps",
    "train.steps_per_call",
    "train.log_every",
    "train.checkpoint_every",
    "train.checkpoints_kept",
    "evaluations.batch_size",
    "evaluations.num_pictured",
)
_COUNTS = (
    "seed",
    "data.seed",
    "data.num_examples",
    "data.num_valid",
    "data.num_test",
    "train.batch_size",
    "objective.gamma_steps",
)


def _check_names(config: ml_collections.ConfigDict) -> None:
    for kind, name, known in (
        ("model", config.model.name, models.MODELS),
        ("activation", config.model.activation, models.ACTIVATIONS),
        ("initializer", config.model.initializer, models.INITIALIZERS),
        ("objective", config.objective.name, objectives.OBJECTIVES),
        ("gamma schedule", config.objective.gamma_schedule, GAMMA_SCHEDULES),
        ("part of the data", config.evaluations.part, ("train", "valid", "test")),
        *(("evaluation", name, evaluation.EVALUATIONS) for name in config.evaluations.names),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    info = objectives.OBJECTIVES[config.objective.name]
    for group, known in (("posterior", info.posteriors), ("likelihood", info.likelihoods)):
        name = config[group].name
        if name not in known and not (group == "posterior" and name == ""):
            raise UsageError(
                f"objective {config.objective.name!r} does not take {group} {name!r};"
                f" it takes: {', '.join(known)}"
            )


def _check_gamma_schedule(config: ml_collections.ConfigDict) -> None:
    try:
        gamma_schedule(config)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"objective.gamma_schedule {config.objective.gamma_schedule!r}: {error}"
        ) from error


def _require(config: ml_collections.ConfigDict, key: str, holds: Any, expected: str) -> None:
    group, _, name = key.rpartition(".")
    node = config
    for part in filter(None, group.split(".")):
        node = node[part]
    if not holds(node[name]):
        raise UsageError(f"{key} must be {expected}, got {node[name]!r}")


def _all_positive(values: tuple[int, ...]) -> bool:
    return all(isinstance(value, int) and value > 0 for value in values)
