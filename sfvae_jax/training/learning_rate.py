"""The learning rate as a function of the step."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import ml_collections
import optax
from jax import Array

from sfvae_jax.objectives import Schedule

_NUM_STAGES = 8
_PASSES = (3**_NUM_STAGES - 1) // 2  # 3,280 over the data in all


def burda(start: float, num_steps: int) -> Schedule:
    """Returns start 10^(-i/7) in stage i = 0, ..., 7, which takes 3^i / 3280 of all steps.

    Burda, Grosse and Salakhutdinov (2016) and GAPS Section 6.1.2 make 3,280 passes over the data.
    Here the schedule has any length: stage i ends at num_steps (3^(i+1) - 1) / 2 / 3280, rounded.

    Args:
        start: the rate of the first stage.
        num_steps: length of all stages together; the rate stays constant after them.

    Returns:
        A function of the step, from 0 on.
    """
    ends = [round(num_steps * ((3 ** (i + 1) - 1) // 2) / _PASSES) for i in range(_NUM_STAGES - 1)]
    rates = [start * 10.0 ** (-i / 7) for i in range(_NUM_STAGES)]

    def schedule(step: Array | int) -> Array:
        stage = jnp.searchsorted(jnp.array(ends), step, side="right")
        return jnp.array(rates, jnp.float32)[stage]

    return schedule


def cosine(start: float, num_steps: int) -> Schedule:
    """Returns start 1/2 (1 + cos(pi step / num_steps)), a function of the step from 0 on."""
    return optax.cosine_decay_schedule(start, num_steps)


def _constant(start: float, num_steps: int) -> Schedule:
    del num_steps
    return optax.constant_schedule(start)


SCHEDULES: dict[str, Callable[[float, int], Schedule]] = {
    "constant": _constant,
    "burda": burda,
    "cosine": cosine,
}


def learning_rate(config: ml_collections.ConfigDict) -> Schedule:
    """Returns the rate that the group `train` describes, before any reduction on a plateau."""
    return SCHEDULES[config.learning_rate_schedule](config.learning_rate, config.steps)
