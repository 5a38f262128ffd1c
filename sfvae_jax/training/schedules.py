"""The weights of an objective's terms as functions of the step."""

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


def make_schedules(objective: ml_collections.ConfigDict, num_steps: int) -> Schedules:
    """Returns the weights of a group `objective` as functions of the step.

    Args:
        objective: the group; a beta of None counts as 1.
        num_steps: number of steps of the whole training.

    Raises:
        UsageError: naming a schedule whose options contradict each other.
    """
    makers = {
        "gamma_schedule": gamma_schedule,
        "beta_schedule": _beta_schedule,
        "entropy_schedule": _entropy_schedule,
    }
    found = []
    for key, make in makers.items():
        try:
            found.append(make(objective, num_steps))
        except ValueError as error:
            name = objective[key]
            raise UsageError(f"objective.{key} {name!r}: {error}") from error
    return Schedules(*found)


def settled_after(schedules: Schedules, num_steps: int, every: int) -> int:
    """Returns the last validated step at which a weight still differs from its final value.

    It is 0 if there is no such step. At all later validations the weights are those of the last
    step of training. (A cyclic weight reaches its final value in every cycle, but stays there only
    in the last one.)

    Args:
        schedules: the weights as functions of the step.
        num_steps: number of steps of the whole training.
        every: number of steps from one validation to the next, 1 or more.
    """
    validated = np.arange(every, num_steps + 1, every)
    taken = jnp.append(validated, num_steps) - 1  # schedules count the steps from 0
    moving = np.zeros(len(validated), bool)
    for schedule in schedules:
        weights = jax.vmap(lambda step, of=schedule: jnp.asarray(of(step), jnp.float32))(taken)
        moving |= np.asarray(weights[:-1] != weights[-1])
    return int(validated[moving].max(initial=0))


def gamma_schedule(objective: ml_collections.ConfigDict, num_steps: int) -> objectives.Schedule:
    """Returns gamma as a function of the step."""
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


def _beta_schedule(objective: ml_collections.ConfigDict, num_steps: int) -> objectives.Schedule:
    start, end = objective.beta_start, 1.0 if objective.beta is None else objective.beta
    steps = objective.beta_steps or num_steps
    if objective.beta_schedule == "linear":
        return objectives.linear_weight(start, end, steps)
    if objective.beta_schedule == "cyclic":
        cycles = {"num_cycles": objective.beta_cycles, "ramp": objective.beta_ramp}
        return objectives.cyclic_weight(start, end, steps, **cycles)
    return objectives.constant_weight(end)


def _entropy_schedule(objective: ml_collections.ConfigDict, num_steps: int) -> objectives.Schedule:
    if objective.entropy_schedule == "linear":
        steps = objective.entropy_steps or num_steps
        return objectives.linear_weight(objective.entropy_start, objective.entropy_weight, steps)
    return objectives.constant_weight(objective.entropy_weight)
