"""log p(x) of one example by annealed importance sampling with Hamiltonian Monte Carlo.

The path from the prior to the posterior (GAPS 6.5) is

    f_t(z) = p(z) p(x|z)^beta_t,   0 = beta_0 < beta_1 < ... < beta_{T+1} = 1,
    p(z) = N(0, diag(prior_stddev^2)),

with T distributions between the two. At each of these T a chain takes one transition, which leaves
f_t invariant and whose step size is fixed before the chain starts. Every function takes one chain
of one example; the caller maps over chains and examples with `jax.vmap`. GAPS is Cremer, Li and
Duvenaud, "Inference Suboptimality in Variational Autoencoders".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

SCHEDULES = ("linear", "sigmoidal")

TARGET_ACCEPTANCE = 0.65  # best for HMC in many dimensions (Beskos et al., 2013)

_SIGMOID_WIDTH = 4.0
_PILOT_WARM_UP = 30
_FIRST_STEP_SIZE = 0.5
# On digits, with a decoder 10-200-784 and 10 chains, log step sizes jitter by 0.02, 0.05 and 0.09
# at rates of 0.1, 0.4 and 0.8. With 100 temperatures the lowest rate lags behind (acceptance 0.44
# in the frozen run); the other two keep up (0.61 both).
_PILOT_RATE = 0.4

LogLikelihood = Callable[[Array], Array]


def temperatures(num_intermediate: int, schedule: str = "sigmoidal") -> np.ndarray:
    """Returns beta_0 = 0 < beta_1 < ... < beta_{T+1} = 1, with T values strictly between 0 and 1.

    linear:     beta_t = t / (T + 1)
    sigmoidal:  beta_t = (s(u_t) - s(-4)) / (s(4) - s(-4)),   u_t = 4 (2 t / (T + 1) - 1)

    with s the logistic function, which makes the steps small at both ends (Wu et al., 2017).

    Args:
        num_intermediate: T, at least 1.
        schedule: one of `SCHEDULES`.

    Returns:
        The temperatures, float64 [T + 2].

    Raises:
        ValueError: if the schedule is unknown, or T is less than 1.
    """
    if num_intermediate < 1:
        raise ValueError(f"num_intermediate must be at least 1, got {num_intermediate}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    even = np.linspace(0.0, 1.0, num_intermediate + 2)
    if schedule == "linear":
        return even
    # s(u) = (1 + tanh(u / 2)) / 2; shifted and scaled like this, both ends are exact.
    curve = np.tanh(0.5 * _SIGMOID_WIDTH * (2.0 * even - 1.0))
    return 0.5 + 0.5 * curve / curve[-1]


def hmc_transition(
    rng: Array,
    log_likelihood: LogLikelihood,
    z: Array,
    beta: Array | float,
    step_size: Array | float,
    *,
    prior_stddev: Array,
    num_leapfrog_steps: int,
) -> tuple[Array, Array, Array]:
    """Takes one step of Hamiltonian Monte Carlo, which leaves p(z) p(x|z)^beta invariant.

    The inverse mass matrix is diag(prior_stddev^2), so that step sizes are in units of the prior.
    The transition is reversible, since it draws a fresh momentum each time. It takes
    1 + `num_leapfrog_steps` gradients.

    Args:
        rng: key for the momentum and the acceptance.
        log_likelihood: maps one z [m] to log p(x|z), in nats.
        z: the chain's current state, [m].
        beta: the temperature, in [0, 1].
        step_size: step size of the leapfrog integrator, in units of the prior.
        prior_stddev: prior standard deviations, [m].
        num_leapfrog_steps: leapfrog steps, at least 1.

    Returns:
        (z, log_likelihood, acceptance): the chain's next state, [m]; log p(x|z) at its current
        state; and the probability of accepting the proposal, in [0, 1].
    """
    from blackjax.mcmc import hmc  # here, since the import takes seconds

    def log_density(z: Array) -> Array:
        return beta * log_likelihood(z) - 0.5 * jnp.sum(jnp.square(z / prior_stddev))

    # The chain's weight needs log p(x|z) by itself: taken here, it is not computed twice.
    value, gradient = jax.value_and_grad(log_likelihood)(z)
    state = hmc.HMCState(
        z,
        beta * value - 0.5 * jnp.sum(jnp.square(z / prior_stddev)),
        beta * gradient - z / jnp.square(prior_stddev),
    )
    state, info = hmc.build_kernel()(
        rng, state, log_density, step_size, jnp.square(prior_stddev), num_leapfrog_steps
    )
    return state.position, value, info.acceptance_rate


def forward_log_weight(
    rng: Array,
    log_likelihood: LogLikelihood,
    betas: np.ndarray,
    step_sizes: Array,
    *,
    prior_stddev: Array,
    num_leapfrog_steps: int,
) -> tuple[Array, Array]:
    """Runs one chain from the prior to the posterior for its log weight   (GAPS 6.5; Neal, 2001).

    log w = sum_{t=1}^{T+1} (beta_t - beta_{t-1}) log p(x|z_{t-1}),   z_0 ~ p(z)

    where one transition at beta_t leads from z_{t-1} to z_t. E[w] = p(x), so that by Jensen's
    inequality the log of a mean of such weights is in expectation at most log p(x).

    Args:
        rng: key of this chain.
        log_likelihood: maps one z [m] to log p(x|z), in nats.
        betas: beta_0 ... beta_{T+1} as `temperatures` returns them, a NumPy array [T + 2].
        step_sizes: step sizes of the T transitions, [T], chosen independently of this chain.
        prior_stddev: prior standard deviations, [m].
        num_leapfrog_steps: leapfrog steps of each transition.

    Returns:
        (log_weight, acceptance): a scalar in nats, and the acceptance probabilities [T].
    """
    start_key, chain_key = jax.random.split(rng)
    noise = jax.random.normal(start_key, prior_stddev.shape, prior_stddev.dtype)
    settings = {"prior_stddev": prior_stddev, "num_leapfrog_steps": num_leapfrog_steps}
    return _chain(chain_key, log_likelihood, prior_stddev * noise, betas, step_sizes, **settings)


def reverse_log_weight(
    rng: Array,
    log_likelihood: LogLikelihood,
    z: Array,
    betas: np.ndarray,
    step_sizes: Array,
    *,
    prior_stddev: Array,
    num_leapfrog_steps: int,
) -> tuple[Array, Array]:
    """Runs one chain from an exact posterior sample back to the prior for its log weight.

    log w' = sum_{t=1}^{T+1} (beta_{t-1} - beta_t) log p(x|z_{t-1}),   z_T ~ p(z|x)

    where one transition at beta_t leads from z_t to z_{t-1}: the forward chain run backwards, as
    each transition is reversible (bidirectional Monte Carlo, Grosse et al., 2015). E[w'] = 1/p(x),
    so that minus the log of a mean of such weights is in expectation at least log p(x).

    Several chains may start from the same exact sample: each weight still has that expectation, and
    so has their mean. But these chains are not independent, and the spread between them does not
    show what another exact sample would change. If the prior is much wider than the posterior and
    there are few temperatures, the weights may have infinite variance, and their standard error is
    meaningless: for a linear decoder W and Gaussian noise of variance c this happens where an
    eigenvalue of beta_1 W'W exceeds c / prior_stddev^2.

    Args:
        rng: key of this chain.
        log_likelihood: maps one z [m] to log p(x|z), in nats.
        z: an exact sample of p(z|x), [m], which is known if x was drawn from the model.
        betas: the forward chain's temperatures, ascending, a NumPy array [T + 2].
        step_sizes: the forward chain's step sizes, in its order, [T].
        prior_stddev: prior standard deviations, [m].
        num_leapfrog_steps: leapfrog steps of each transition, as in the forward chain.

    Returns:
        (log_weight, acceptance): a scalar in nats, and the acceptance probabilities [T], in the
        order of the forward chain.
    """
    settings = {"prior_stddev": prior_stddev, "num_leapfrog_steps": num_leapfrog_steps}
    log_weight, acceptance = _chain(
        rng, log_likelihood, z, betas[::-1], step_sizes[::-1], **settings
    )
    return log_weight, acceptance[::-1]


def pilot_step_sizes(
    rng: Array,
    log_likelihood: LogLikelihood,
    betas: np.ndarray,
    *,
    prior_stddev: Array,
    num_leapfrog_steps: int,
    num_chains: int,
    target_acceptance: float = TARGET_ACCEPTANCE,
) -> Array:
    """Chooses one example's step sizes in a pilot run of several chains, which is then discarded.

    log step <- log step + rate (mean acceptance of the chains - target)

    after every transition of chains that go from the prior up the temperatures. If the weighted
    chains adapted their own step sizes, their transitions would depend on the past and no longer
    leave f_t invariant; E[w] = p(x), and with it the bound, would be lost. So the pilot has a key
    of its own, only its step sizes are kept, and they stay fixed in every chain that takes them.

    Args:
        rng: key of the pilot, used for nothing else.
        log_likelihood: maps one z [m] to log p(x|z), in nats.
        betas: beta_0 ... beta_{T+1} as `temperatures` returns them, [T + 2].
        prior_stddev: prior standard deviations, [m].
        num_leapfrog_steps: leapfrog steps of each transition.
        num_chains: chains that share a step size.
        target_acceptance: mean acceptance probability to reach, in (0, 1).

    Returns:
        Step sizes [T] in units of the prior, one for each temperature strictly between 0 and 1.
    """
    start_key, chain_key = jax.random.split(rng)
    noise = jax.random.normal(start_key, (num_chains, *prior_stddev.shape), prior_stddev.dtype)

    def move(key: Array, z: Array, beta: Array, step_size: Array) -> tuple[Array, Array]:
        z, _, acceptance = hmc_transition(
            key,
            log_likelihood,
            z,
            beta,
            step_size,
            prior_stddev=prior_stddev,
            num_leapfrog_steps=num_leapfrog_steps,
        )
        return z, acceptance

    def step(carry: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[Any, Array]:
        (z, log_step), (index, beta) = carry, inputs
        keys = jax.random.split(jax.random.fold_in(chain_key, index), num_chains)
        z, acceptance = jax.vmap(move, (0, 0, None, None))(keys, z, beta, jnp.exp(log_step))
        change = _PILOT_RATE * (jnp.mean(acceptance) - target_acceptance)
        return (z, log_step + change), jnp.exp(log_step)

    # Warm-up: the first transitions, all at beta_1, find a step size to start with.
    betas = np.concatenate([np.full(_PILOT_WARM_UP, betas[1]), betas[1:-1]])
    start = (prior_stddev[None] * noise, jnp.asarray(math.log(_FIRST_STEP_SIZE), noise.dtype))
    inputs = (jnp.arange(len(betas)), jnp.asarray(betas, noise.dtype))
    return jax.lax.scan(step, start, inputs)[1][_PILOT_WARM_UP:]


def log_mean_weight(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the log of the mean of C weights and its uncertainty; in float64, on the host.

    With the effective sample size ESS = (sum w)^2 / sum w^2 the delta method gives

        standard error of the log = sd(w) / (sqrt(C) mean(w)) = sqrt((1/ESS - 1/C) C / (C - 1))

    Both only reflect where the chains have been: if all of them stay in one of two modes, neither
    shows it.

    Args:
        log_weights: log weights [..., C], in nats.

    Returns:
        (log_mean, effective_sample_size, standard_error), each [...]: in nats; between 1 and C;
        in nats, nan for a single weight.
    """
    log_weights = np.asarray(log_weights, np.float64)
    num_weights = log_weights.shape[-1]
    maximum = np.max(log_weights, axis=-1)
    weights = np.exp(log_weights - maximum[..., None])
    total = np.sum(weights, axis=-1)
    effective = np.square(total) / np.sum(np.square(weights), axis=-1)
    # For equal weights only rounding is left, which may be negative.
    variance = np.maximum(1.0 / effective - 1.0 / num_weights, 0.0)
    degrees = num_weights - 1 if num_weights > 1 else np.nan
    error = np.sqrt(variance * num_weights / degrees)
    return maximum + np.log(total / num_weights), effective, error


def _chain(
    rng: Array,
    log_likelihood: LogLikelihood,
    z: Array,
    betas: np.ndarray,
    step_sizes: Array,
    **settings: Any,
) -> tuple[Array, Array]:
    """Returns log w = sum_s (b_s - b_{s-1}) log p(x|z_{s-1}) and the acceptances [T].

    The temperatures b_0 ... b_{T+1} go up or down; between the terms of the sum, z moves by one
    transition at each of b_1, ..., b_T.
    """
    # In float64, as differences of neighbouring temperatures lose digits in float32.
    increments = jnp.asarray(np.diff(betas), z.dtype)
    middle = jnp.asarray(betas[1:-1], z.dtype)

    def step(carry: tuple[Array, _Sum], inputs: tuple[Array, ...]) -> tuple[Any, Array]:
        (z, total), (index, beta, increment, step_size) = carry, inputs
        key = jax.random.fold_in(rng, index)
        z, value, acceptance = hmc_transition(key, log_likelihood, z, beta, step_size, **settings)
        return (z, total.plus(increment * value)), acceptance

    inputs = (jnp.arange(len(middle)), middle, increments[:-1], step_sizes)
    (z, total), acceptance = jax.lax.scan(step, (z, _Sum.zero(z.dtype)), inputs)
    return total.plus(increments[-1] * log_likelihood(z)).value(), acceptance


class _Sum(NamedTuple):
    """A running sum that keeps track of what it loses to rounding (Neumaier, 1974)."""

    total: Array
    lost: Array

    @classmethod
    def zero(cls, dtype: Any) -> _Sum:
        return cls(jnp.zeros((), dtype), jnp.zeros((), dtype))

    def plus(self, term: Array) -> _Sum:
        total = self.total + term
        larger = jnp.abs(self.total) >= jnp.abs(term)
        of_term, of_total = (self.total - total) + term, (term - total) + self.total
        return _Sum(total, self.lost + jnp.where(larger, of_term, of_total))

    def value(self) -> Array:
        # If the sum is infinite, what was lost to rounding is not a number.
        return self.total + jnp.where(jnp.isfinite(self.total), self.lost, 0.0)
