"""What an objective is weighted with, as functions of the step."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sfvae_jax import objectives
from sfvae_jax.errors import UsageError


class Schedules(NamedTuple):
    """The weights of an objective, as functions of the step."""

    gamma: objectives.Schedule
    beta: objectives.Schedule
    entropy: objectives.Schedule


def schedules(config: ml_collections.ConfigDict) -> Schedules:
    """A config's weights as functions of the step; an open beta counts as 1.

    Raises:
        UsageError: naming the schedule that cannot be.
    """
    makers = {
        "gamma_schedule": gamma_schedule,
        "beta_schedule": _beta_schedule,
        "entropy_schedule": _entropy_schedule,
    }
    found = []
    for key, make in makers.items():
        try:
            found.append(make(config))
        except ValueError as error:
            name = config.objective[key]
            raise UsageError(f"objective.{key} {name!r}: {error}") from error
    return Schedules(*found)


def settled_after(config: ml_collections.ConfigDict) -> int:
    """The last step with a validation at which a weight still differs from its final value.

    0 if there is none. At all later validations the weights are those of the last step of training.
    (A cyclic weight reaches its final value in every cycle. Only in the last cycle does it stay
    there.)

    Args:
        config: resolved, with `train.validate_every` positive.
    """
    every, num_steps = config.train.validate_every, config.train.steps
    validated = np.arange(every, num_steps + 1, every)
    taken = jnp.append(validated, num_steps) - 1  # schedules count the steps from 0
    moving = np.zeros(len(validated), bool)
    for schedule in schedules(config):
        weights = jax.vmap(lambda step, of=schedule: jnp.asarray(of(step), jnp.float32))(taken)
        moving |= np.asarray(weights[:-1] != weights[-1])
    return int(validated[moving].max(initial=0))


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


def _beta_schedule(config: ml_collections.ConfigDict) -> objectives.Schedule:
    objective = config.objective
    start, end = objective.beta_start, 1.0 if objective.beta is None else objective.beta
    steps = objective.beta_steps or config.train.steps
    if objective.beta_schedule == "linear":
        return objectives.linear_weight(start, end, steps)
    if objective.beta_schedule == "cyclic":
        cycles = {"num_cycles": objective.beta_cycles, "ramp": objective.beta_ramp}
        return objectives.cyclic_weight(start, end, steps, **cycles)
    return objectives.constant_weight(end)


def _entropy_schedule(config: ml_collections.ConfigDict) -> objectives.Schedule:
    objective = config.objective
    if objective.entropy_schedule == "linear":
        steps = objective.entropy_steps or config.train.steps
        return objectives.linear_weight(objective.entropy_start, objective.entropy_weight, steps)
    return objectives.constant_weight(objective.entropy_weight)
