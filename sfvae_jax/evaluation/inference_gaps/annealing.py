"""log p(x) of one example by annealed importance sampling with Hamiltonian Monte Carlo.

The path from the prior to the posterior (GAPS 6.5) is

    f_t(z) = p(z) p(x|z)^beta_t,   0 = beta_0 < beta_1 < ... < beta_{T+1} = 1,
    p(z) = N(0, diag(prior_stddev^2)),

with T distributions between the two. A chain takes one transition at each of these T that leaves
f_t invariant; its step size there is fixed before the chain starts. Everything is for one chain of
one example; the caller maps over chains and examples with `jax.vmap`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.objectives.numerics.batch import example_keys

SCHEDULES = ("linear", "sigmoidal")

TARGET_ACCEPTANCE = 0.65  # best for HMC in many dimensions (Beskos et al., 2013)

_SIGMOID_WIDTH = 4.0
_PILOT_WARM_UP = 30
_FIRST_STEP_SIZE = 0.5
# Measured on digits, with a decoder 10-200-784 and 10 chains: log step sizes jitter by 0.02, 0.05
# and 0.09 at rates 0.1, 0.4 and 0.8; with 100 temperatures the first falls behind (acceptance 0.44
# in the frozen run), the others follow (0.61 both).
_PILOT_RATE = 0.4

LogLikelihood = Callable[[Array], Array]


def temperatures(num_intermediate: int, schedule: str = "sigmoidal") -> np.ndarray:
    """beta_0 = 0 < beta_1 < ... < beta_T < beta_{T+1} = 1, with T strictly between 0 and 1.

    linear:     beta_t = t / (T + 1)
    sigmoidal:  beta_t = (s(u_t) - s(-4)) / (s(4) - s(-4)),   u_t = 4 (2 t / (T + 1) - 1)

    with s the logistic function: steps are small at both ends (Wu et al., 2017).

    Args:
        num_intermediate: T, at least 1.
        schedule: one of `SCHEDULES`.

    Returns:
        float64 [T + 2].

    Raises:
        ValueError: if the schedule is unknown, or T less than 1.
    """
    if num_intermediate < 1:
        raise ValueError(f"num_intermediate must be at least 1, got {num_intermediate}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    even = np.linspace(0.0, 1.0, num_intermediate + 2)
    if schedule == "linear":
        return even
    # s(u) = (1 + tanh(u / 2)) / 2, whose shift and scale leave the ends exact.
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
    """One transition of Hamiltonian Monte Carlo that leaves p(z) p(x|z)^beta invariant.

    Its inverse mass matrix is diag(prior_stddev^2), so that steps are in units of the prior. With
    a fresh momentum every time it is reversible. It takes 1 + `num_leapfrog_steps` gradients.

    Args:
        rng: key of the momentum and the acceptance.
        log_likelihood: log p(x|z) in nats of one z [m].
        z: where the chain is, [m].
        beta: in [0, 1].
        step_size: of the leapfrog, in units of the prior.
        prior_stddev: [m].
        num_leapfrog_steps: at least 1.

    Returns:
        (z, log_likelihood, acceptance): where the chain is next, [m]; log p(x|z) of the z given;
        and the probability with which the proposal was accepted, in [0, 1].
    """
    from blackjax.mcmc import hmc  # its import takes seconds

    def log_density(z: Array) -> Array:
        return beta * log_likelihood(z) - 0.5 * jnp.sum(jnp.square(z / prior_stddev))

    # log p(x|z) by itself is what the chain's weight needs: it is not taken a second time for that.
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
    """The log weight of one chain from the prior to the posterior   (GAPS 6.5; Neal, 2001).

    log w = sum_{t=1}^{T+1} (beta_t - beta_{t-1}) log p(x|z_{t-1}),   z_0 ~ p(z)

    where z_t is one transition at beta_t away from z_{t-1}. E[w] = p(x): by Jensen's inequality
    the log of a mean of such weights is in expectation at most log p(x).

    Args:
        rng: key of this chain.
        log_likelihood: log p(x|z) in nats of one z [m].
        betas: beta_0 ... beta_{T+1} as from `temperatures`, [T + 2], of NumPy.
        step_sizes: of the T transitions, [T], chosen before this chain and without it.
        prior_stddev: [m].
        num_leapfrog_steps: of each transition.

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
    """The log weight of one chain from an exact posterior sample back to the prior.

    log w' = sum_{t=1}^{T+1} (beta_{t-1} - beta_t) log p(x|z_{t-1}),   z_T ~ p(z|x)

    where z_{t-1} is one transition at beta_t away from z_t: the forward chain run backwards, as
    each transition is reversible (bidirectional Monte Carlo, Grosse et al., 2015). E[w'] = 1/p(x):
    minus the log of a mean of such weights is in expectation at least log p(x).

    Several chains may start from the one exact sample that there is: each weight still has that
    expectation, and so has their mean. They are not independent, and the spread between them does
    not show what another exact sample would change. Weights down to a prior that is much wider
    than the posterior may have no variance where temperatures are few, and their standard error
    then says nothing: under a linear decoder W of Gaussian data with noise c, where an eigenvalue
    of beta_1 W'W exceeds c / prior_stddev^2.

    Args:
        rng: key of this chain.
        log_likelihood: log p(x|z) in nats of one z [m].
        z: an exact sample of p(z|x), [m]; there is one where x was drawn from the model.
        betas: as of the forward chain, ascending, [T + 2], of NumPy.
        step_sizes: as of the forward chain, in its order, [T].
        prior_stddev: [m].
        num_leapfrog_steps: as of the forward chain.

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
    """Step sizes for one example, by a pilot of several chains that is then thrown away.

    log step <- log step + rate (mean acceptance of the chains - target)

    after every transition of chains that go from the prior up the temperatures. Adapted in the
    chains that are weighed, the transitions would depend on the past and no longer leave f_t
    invariant: E[w] = p(x), and with it the bound, would be lost. So the pilot has a key of its
    own, nothing but its step sizes is kept, and they stay fixed in whatever chains take them.

    Args:
        rng: key of the pilot, used for nothing else.
        log_likelihood: log p(x|z) in nats of one z [m].
        betas: beta_0 ... beta_{T+1} as from `temperatures`, [T + 2].
        prior_stddev: [m].
        num_leapfrog_steps: of each transition.
        num_chains: that share a step size.
        target_acceptance: in (0, 1).

    Returns:
        [T], in units of the prior, one for each temperature strictly between 0 and 1.
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

    # The first transitions, all at beta_1, find where to start from.
    betas = np.concatenate([np.full(_PILOT_WARM_UP, betas[1]), betas[1:-1]])
    start = (prior_stddev[None] * noise, jnp.asarray(math.log(_FIRST_STEP_SIZE), noise.dtype))
    inputs = (jnp.arange(len(betas)), jnp.asarray(betas, noise.dtype))
    return jax.lax.scan(step, start, inputs)[1][_PILOT_WARM_UP:]


def log_mean_weight(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The log of the mean of C weights, and how far it can be trusted; float64, on the host.

    With the effective sample size ESS = (sum w)^2 / sum w^2 the delta method gives

        standard error of the log = sd(w) / (sqrt(C) mean(w)) = sqrt(1/ESS - 1/C)

    They see only where chains have been: all of them in one of two modes show nothing. A single
    weight has an error of 0 by this formula, for want of a second one.

    Args:
        log_weights: [..., C], in nats.

    Returns:
        (log_mean, effective_sample_size, standard_error), each [...]: in nats, in weights between
        1 and C, and in nats.
    """
    log_weights = np.asarray(log_weights, np.float64)
    num_weights = log_weights.shape[-1]
    maximum = np.max(log_weights, axis=-1)
    weights = np.exp(log_weights - maximum[..., None])
    total = np.sum(weights, axis=-1)
    effective = np.square(total) / np.sum(np.square(weights), axis=-1)
    # Equal weights leave nothing but rounding, which may be negative.
    variance = np.maximum(1.0 / effective - 1.0 / num_weights, 0.0)
    return maximum + np.log(total / num_weights), effective, np.sqrt(variance)


class AnnealedEstimate(NamedTuple):
    """What `annealed_importance_sampling` finds.

    Attributes:
        log_evidence: log 1/C sum_c w_c, in nats; in expectation at most log p(x).
        log_weights: of the chains, [C], in nats.
        effective_sample_size: (sum w)^2 / sum w^2, between 1 and C.
        standard_error: of log_evidence, in nats, as of `log_mean_weight`.
        acceptance_rate: mean over the chains at each intermediate temperature, [T].
        step_sizes: with which they ran, in units of the prior, [T].
    """

    log_evidence: float
    log_weights: np.ndarray
    effective_sample_size: float
    standard_error: float
    acceptance_rate: np.ndarray
    step_sizes: np.ndarray


def annealed_importance_sampling(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    likelihood: Any,
    *,
    latent_size: int,
    num_chains: int,
    num_temperatures: int,
    num_leapfrog_steps: int = 10,
    schedule: str = "sigmoidal",
    prior_stddev: Array | float = 1.0,
    pilot_chains: int = 8,
) -> AnnealedEstimate:
    """log p(x) of one example by annealed importance sampling; it needs no posterior.

    log p(x) ~= log 1/C sum_c w_c,   w_c as of `forward_log_weight`

    (GAPS 6.5.) A pilot chooses the step sizes (`pilot_step_sizes`); the chains that are weighed
    run with them fixed, all of them at once. Every call compiles its own program and gives NumPy's
    numbers: it is not to be mapped. For many images of a trained model there is
    `annealed_bounds.forward_bounds`.

    Args:
        rng: key of the pilot's and the chains' noise.
        decode: maps one latent [m] to the likelihood's parameters.
        x: one example.
        likelihood: p(x|z), with `log_prob(x, parameters)`.
        latent_size: m.
        num_chains: C.
        num_temperatures: T, the distributions strictly between prior and posterior.
        num_leapfrog_steps: of each transition.
        schedule: of the temperatures, one of `SCHEDULES`.
        prior_stddev: prior standard deviations, a scalar or [m].
        pilot_chains: of the pilot.

    Raises:
        ValueError: if the schedule is unknown, or a number less than 1.
    """
    counts = (latent_size, num_chains, num_temperatures, num_leapfrog_steps, pilot_chains)
    if min(counts) < 1:
        raise ValueError(
            "latent_size, num_chains, num_temperatures, num_leapfrog_steps and pilot_chains must be"
            f" at least 1, got {counts}"
        )
    betas = temperatures(num_temperatures, schedule)
    settings = {
        "prior_stddev": jnp.broadcast_to(jnp.asarray(prior_stddev, float), (latent_size,)),
        "num_leapfrog_steps": num_leapfrog_steps,
    }

    def log_likelihood(z: Array) -> Array:
        return likelihood.log_prob(x, decode(z))

    @jax.jit
    def run(pilot_key: Array, keys: Array) -> tuple[Array, Array, Array]:
        step_sizes = pilot_step_sizes(
            pilot_key, log_likelihood, betas, num_chains=pilot_chains, **settings
        )
        log_weights, acceptance = jax.vmap(
            lambda key: forward_log_weight(key, log_likelihood, betas, step_sizes, **settings)
        )(keys)
        return log_weights, jnp.mean(acceptance, axis=0), step_sizes

    pilot_key, chains_key = jax.random.split(rng)
    log_weights, acceptance, step_sizes = jax.device_get(
        run(pilot_key, example_keys(chains_key, num_chains))
    )
    value, effective, error = (float(part) for part in log_mean_weight(log_weights))
    return AnnealedEstimate(value, log_weights, effective, error, acceptance, step_sizes)


def _chain(
    rng: Array,
    log_likelihood: LogLikelihood,
    z: Array,
    betas: np.ndarray,
    step_sizes: Array,
    **settings: Any,
) -> tuple[Array, Array]:
    """log w = sum_s (b_s - b_{s-1}) log p(x|z_{s-1}) along b_0 ... b_{T+1}, and acceptances [T].

    Up and down are the same sum: between its terms z moves by a transition at b_1, ..., b_T.
    """
    # Differences of neighbours lose digits: they are taken before the numbers become float32.
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
    """A running sum that keeps what rounding takes from it (Neumaier, 1974)."""

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
        # Of an infinite sum nothing is lost that could be told.
        return self.total + jnp.where(jnp.isfinite(self.total), self.lost, 0.0)
