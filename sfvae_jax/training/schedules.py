"""The weights of an objective's terms as functions of the step."""

from __future__ import annotations

from collections.abc import Callable
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
    found = []
    for key, makers in SCHEDULES.items():
        name = objective[key]
        try:
            found.append(makers[name](objective, num_steps))
        except ValueError as error:
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


def obstacles_to_more_steps(config: ml_collections.ConfigDict, steps: int) -> list[str]:
    """Says in words which settings would have made the first steps of a longer run others.

    Args:
        config: the resolved configuration of the longer run.
        steps: number of steps of the shorter one, whose other settings are the same.
    """
    train, objective = config.train, config.objective
    found = []
    if train.learning_rate_schedule != "constant":
        rate = train.learning_rate_schedule
        found.append(f"train.learning_rate_schedule {rate!r} is scaled to train.steps")
    for name in ("gamma", "beta", "entropy"):
        schedule = objective[f"{name}_schedule"]
        length = "gamma_boundaries" if schedule == "piecewise" else f"{name}_steps"
        if schedule != "constant" and not objective[length]:
            found.append(
                f"objective.{name}_schedule {schedule!r} is scaled to train.steps, because"
                f" objective.{length} is {objective[length]!r}"
            )
    if not found and _is_validated_otherwise(config, steps):
        found.append(
            "train.validate_every validates with the weights of the last step, and a schedule of"
            f" the group objective still changes them after step {steps}"
        )
    return found


def _is_validated_otherwise(config: ml_collections.ConfigDict, steps: int) -> bool:
    """Whether validations up to `steps` have other weights, or count otherwise, in a longer run."""
    train = config.train
    if not train.validate_every:
        return False
    schedules = make_schedules(config.objective, train.steps)
    if any(float(of(steps - 1)) != float(of(train.steps - 1)) for of in schedules):
        return True
    settled = {settled_after(schedules, end, train.validate_every) for end in (steps, train.steps)}
    return train.stop_patience > 0 and len(settled) > 1


def gamma_schedule(objective: ml_collections.ConfigDict, num_steps: int) -> objectives.Schedule:
    """Returns gamma as a function of the step."""
    return _GAMMA[objective.gamma_schedule](objective, num_steps)


def _piecewise_gamma(group: ml_collections.ConfigDict, num_steps: int) -> objectives.Schedule:
    values = group.gamma_values
    boundaries = group.gamma_boundaries or objectives.equal_boundaries(len(values), num_steps)
    return objectives.piecewise_gamma(values, boundaries)


def _last_beta(group: ml_collections.ConfigDict) -> float:
    return 1.0 if group.beta is None else group.beta


def _cyclic_beta(group: ml_collections.ConfigDict, num_steps: int) -> objectives.Schedule:
    return objectives.cyclic_weight(
        group.beta_start,
        _last_beta(group),
        group.beta_steps or num_steps,
        num_cycles=group.beta_cycles,
        ramp=group.beta_ramp,
    )


_Make = Callable[[ml_collections.ConfigDict, int], objectives.Schedule]
_GAMMA: dict[str, _Make] = {
    "constant": lambda group, _: objectives.constant_gamma(group.gamma),
    "linear": lambda group, num_steps: objectives.linear_gamma(
        group.gamma_start, group.gamma, group.gamma_steps or num_steps
    ),
    "piecewise": _piecewise_gamma,
}
_BETA: dict[str, _Make] = {
    "constant": lambda group, _: objectives.constant_weight(_last_beta(group)),
    "linear": lambda group, num_steps: objectives.linear_weight(
        group.beta_start, _last_beta(group), group.beta_steps or num_steps
    ),
    "cyclic": _cyclic_beta,
}
_ENTROPY: dict[str, _Make] = {
    "constant": lambda group, _: objectives.constant_weight(group.entropy_weight),
    "linear": lambda group, num_steps: objectives.linear_weight(
        group.entropy_start, group.entropy_weight, group.entropy_steps or num_steps
    ),
}
# The makers of each weight, by the values of its option.
SCHEDULES = {"gamma_schedule": _GAMMA, "beta_schedule": _BETA, "entropy_schedule": _ENTROPY}
