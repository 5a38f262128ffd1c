"""Weights that change with the training step: pure functions of the step, resolved outside."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import optax
from jax import Array

Schedule = Callable[[Array | int], Array | float]

FIGURE_1_GAMMAS = (0.95, 0.9, 0.8, 0.67, 0.5)
"""The values that SFVAE's Figure 1 steps gamma through."""


def constant_gamma(gamma: float) -> Schedule:
    """gamma at every step   (SFVAE Eq. 21; 0.5 is the paper's canonical value)."""
    return optax.constant_schedule(_in_unit_interval(gamma))


def linear_gamma(start: float, end: float, num_steps: int) -> Schedule:
    """A straight line from `start` at step 0 to `end` at step `num_steps`, then `end`."""
    if num_steps < 1:
        raise ValueError(f"num_steps must be positive, got {num_steps}")
    return optax.linear_schedule(_in_unit_interval(start), _in_unit_interval(end), num_steps)


def piecewise_gamma(values: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """values[0] before boundaries[0], values[i] from step boundaries[i-1] on   (SFVAE Figure 1).

    Args:
        values: the gammas in turn, each in [0, 1].
        boundaries: the steps at which the next value begins, rising, one fewer than `values`.

    Returns:
        A function of the step.

    Raises:
        ValueError: if a value lies outside [0, 1], or the boundaries do not fit or rise.
    """
    if not values:
        raise ValueError("at least one value is needed")
    if len(boundaries) != len(values) - 1:
        raise ValueError(
            f"{len(values)} values need {len(values) - 1} boundaries, got {len(boundaries)}"
        )
    if any(low >= high for low, high in itertools.pairwise(boundaries)):
        raise ValueError(f"boundaries must rise, got {tuple(boundaries)}")
    pieces = [optax.constant_schedule(_in_unit_interval(value)) for value in values]
    return optax.join_schedules(pieces, list(boundaries))


def equal_boundaries(num_values: int, num_steps: int) -> tuple[int, ...]:
    """Boundaries that give each of `num_values` pieces an equal share of `num_steps` steps.

    Raises:
        ValueError: if there are fewer steps than pieces.
    """
    if num_steps < num_values:
        raise ValueError(f"{num_values} values need at least as many steps, got {num_steps}")
    return tuple(round(num_steps * i / num_values) for i in range(1, num_values))


def _in_unit_interval(gamma: float) -> float:
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
    return float(gamma)
