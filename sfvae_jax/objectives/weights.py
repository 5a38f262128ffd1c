"""Weights on the parts of an ELBO, and how they change with the training step.

FLOW is Pavesi, "Variational Auto Encoders"; GAPS is Cremer, Li and Duvenaud, "Inference
Suboptimality in Variational Autoencoders". Schedules are pure functions of the step, which are
evaluated outside the objectives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import optax
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.numerics.batch import batch_mean
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_batch,
    check_not_negative,
    check_number,
    check_per_element,
    check_scalar,
    check_vector,
)
from sfvae_jax.objectives.numerics.precision import wide

Schedule = Callable[[Array | int], Array | float]

# The options that weight a part of a loss.
WEIGHTS = (
    "log_det_weight",
    "beta",
    "entropy_weight",
    "penalty_weight",
    "bend_weight",
    "free_bits",
)
# The values that SFVAE's Figure 1 steps gamma through.
FIGURE_1_GAMMAS = (0.95, 0.9, 0.8, 0.67, 0.5)


def constant_gamma(gamma: float) -> Schedule:
    """A schedule with one gamma for all steps   (SFVAE Eq. 21, whose canonical value is 0.5)."""
    return optax.constant_schedule(_in_unit_interval(gamma))


def linear_gamma(start: float, end: float, num_steps: int) -> Schedule:
    """A schedule that is linear from `start` at step 0 to `end` at step `num_steps`, then level."""
    if num_steps < 1:
        raise ValueError(f"num_steps must be positive, got {num_steps}")
    return optax.linear_schedule(_in_unit_interval(start), _in_unit_interval(end), num_steps)


def piecewise_gamma(values: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """A schedule with values[0] first and values[i] from boundaries[i-1] on   (SFVAE Figure 1).

    Args:
        values: the gammas in turn, each in [0, 1].
        boundaries: the increasing steps at which the next value begins, one fewer than `values`.

    Returns:
        A function of the step.

    Raises:
        ValueError: if a value lies outside [0, 1], or the boundaries do not fit or increase.
    """
    if not values:
        raise ValueError("values must not be empty; give at least one")
    if len(boundaries) != len(values) - 1:
        raise ValueError(
            f"{len(values)} values need {len(values) - 1} boundaries, got {len(boundaries)}"
        )
    if any(low >= high for low, high in itertools.pairwise(boundaries)):
        raise ValueError(f"boundaries must increase, got {tuple(boundaries)}")
    pieces = [optax.constant_schedule(_in_unit_interval(value)) for value in values]
    return optax.join_schedules(pieces, list(boundaries))


def equal_boundaries(num_values: int, num_steps: int) -> tuple[int, ...]:
    """Returns the boundaries that give each of `num_values` pieces an equal number of steps.

    Raises:
        ValueError: if there are fewer steps than pieces.
    """
    if num_steps < num_values:
        raise ValueError(f"{num_values} values need at least {num_values} steps, got {num_steps}")
    return tuple(round(num_steps * i / num_values) for i in range(1, num_values))


def constant_weight(weight: float) -> Schedule:
    """A schedule with one weight for all steps."""
    return optax.constant_schedule(_not_negative(weight))


def linear_weight(start: float, end: float, num_steps: int) -> Schedule:
    """A schedule that is linear from `start` at step 0 to `end` at step `num_steps`, then level.

    From 0 to 1, a schedule of beta gives KL annealing (FLOW Eq. 13, after Bowman et al., 2015), and
    a schedule of the entropy's weight gives entropy annealing (GAPS Section 5.3.1).
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be positive, got {num_steps}")
    return optax.linear_schedule(_not_negative(start), _not_negative(end), num_steps)


def cyclic_weight(
    start: float, end: float, num_steps: int, *, num_cycles: int = 4, ramp: float = 0.5
) -> Schedule:
    """A schedule that repeats a linear rise in `num_cycles` equal cycles over `num_steps` steps.

    Each cycle rises from `start` to `end` during the first fraction `ramp` of its steps, and stays
    at `end` for the rest (Fu et al., 2019). After the last cycle the weight is `end`.

    Raises:
        ValueError: if there are fewer steps than cycles, their product exceeds 32 bits, or ramp
            lies outside (0, 1].
    """
    if not 1 <= num_cycles <= num_steps:
        raise ValueError(
            f"num_cycles must be from 1 to num_steps, which is {num_steps}; got {num_cycles}"
        )
    if not 0.0 < ramp <= 1.0:
        raise ValueError(f"ramp must lie in (0, 1], got {ramp}")
    if num_steps * num_cycles >= 2**31:
        raise ValueError(
            f"num_steps * num_cycles must be below 2**31, got {num_steps} * {num_cycles}; use"
            " fewer cycles"
        )
    start, end = _not_negative(start), _not_negative(end)

    def weight(step: Array | int) -> Array:
        step = jnp.minimum(step, num_steps)
        phase = (step * num_cycles % num_steps) / num_steps  # integers, so that no rounding adds up
        rising = start + (end - start) * jnp.minimum(phase / ramp, 1.0)
        return jnp.where(step < num_steps, rising, end)

    return weight


def weighted_value(
    elbo: Elbo, *, beta: Array | float = 1.0, entropy_weight: Array | float = 1.0
) -> Array:
    """Weights an ELBO's KL divergence by beta and the posterior's entropy by lambda.

    log_likelihood + beta (log_prior + lambda entropy)

    A beta other than 1 gives the objective of the beta-VAE and of KL annealing (FLOW Eq. 13); a
    lambda other than 1 gives that of entropy annealing, E_q[log p(x, z) - lambda log q(z|x)] (GAPS
    Section 5.3.1). With both at 1 it is `elbo.value`, and only then does it bound log p(x).

    Args:
        elbo: parts of any shape.
        beta: weight of the KL divergence.
        entropy_weight: lambda, weight of the entropy in the KL divergence.

    Returns:
        The shape of the parts, in nats.

    Raises:
        ArgumentError: if a weight is neither a scalar nor shaped like the parts.
    """
    elbo, beta, entropy_weight = wide((elbo, beta, entropy_weight))
    check_per_element("beta", beta, elbo.log_likelihood)
    check_per_element("entropy_weight", entropy_weight, elbo.log_likelihood)
    return elbo.log_likelihood + beta * (elbo.log_prior + entropy_weight * elbo.entropy)


def free_bits_kl(
    kl_per_dimension: Array, *, minimum: Array | float, group_sizes: Sequence[int] | None = None
) -> Array:
    """The KL divergence of one example, where each group of dimensions counts at least a minimum.

    sum_j max(minimum, sum_{i in group j} KL_i)   (FLOW Eq. 14)

    Below the floor the cost of a group is constant and has no gradient. The floor is in nats, like
    the divergence; one bit is log 2 = 0.693 nats. The dimensions of a posterior with correlations,
    such as a Gaussian with full covariance, form one group: pass their whole divergence as [1].

    Args:
        kl_per_dimension: KL(q(z_i|x) || p(z_i)), [m], in nats.
        minimum: the floor lambda, in nats, not negative.
        group_sizes: sizes of consecutive groups, with sum m; None makes every dimension a group.

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if kl_per_dimension is not of rank 1, the groups do not fit, or the
            minimum is known to be negative.
    """
    check_vector("kl_per_dimension", kl_per_dimension)
    kl_per_dimension = wide(kl_per_dimension)
    return jnp.sum(jnp.maximum(minimum, _by_group(kl_per_dimension, minimum, group_sizes)))


def batch_free_bits_kl(
    kl_per_dimension: Array,
    *,
    minimum: Array | float,
    group_sizes: Sequence[int] | None = None,
    axis_name: str | None = None,
) -> Array:
    """The mean KL divergence of a batch with a floor under each group's batch mean.

    sum_j max(minimum, mean over the batch of sum_{i in group j} KL_i)   (Kingma et al., 2016)

    It is gentler than `free_bits_kl`, since single examples may fall below the floor. For one group
    of all dimensions pass [B, 1].

    Args:
        kl_per_dimension: KL(q(z_i|x) || p(z_i)), [B, m], in nats.
        minimum: the floor lambda, in nats, not negative.
        group_sizes: sizes of consecutive groups, with sum m; None makes every dimension a group.
        axis_name: axis over which the batch is shared.

    Returns:
        A scalar, in nats per example.

    Raises:
        ArgumentError: if kl_per_dimension is not of rank 2, the groups do not fit, or the
            minimum is known to be negative.
    """
    check_batch("kl_per_dimension", kl_per_dimension)
    mean = batch_mean(kl_per_dimension, axis_name)
    return jnp.sum(jnp.maximum(minimum, _by_group(mean, minimum, group_sizes)))


def _by_group(kl: Array, minimum: Array | float, group_sizes: Sequence[int] | None) -> Array:
    check_number("minimum", minimum)
    check_scalar("minimum", minimum)
    check_not_negative("minimum", minimum)
    if group_sizes is None:
        return kl
    if sum(group_sizes) != kl.size or min(group_sizes) < 1:
        raise ArgumentError(
            f"group sizes {tuple(group_sizes)} must be positive and sum to the {kl.size} latents"
        )
    starts = list(itertools.accumulate(group_sizes, initial=0))
    return jnp.stack([jnp.sum(kl[low:high]) for low, high in itertools.pairwise(starts)])


def _not_negative(weight: float) -> float:
    if not 0.0 <= weight < float("inf"):
        raise ValueError(f"a weight must be finite and not negative, got {weight}")
    return float(weight)


def _in_unit_interval(gamma: float) -> float:
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
    return float(gamma)
