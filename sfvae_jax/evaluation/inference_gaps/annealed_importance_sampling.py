"""An estimate of log p(x) for one example in one call, by annealed importance sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.evaluation.inference_gaps.annealing import (
    forward_log_weight,
    log_mean_weight,
    pilot_step_sizes,
    temperatures,
)
from sfvae_jax.objectives.numerics.batch import example_keys


class AnnealedEstimate(NamedTuple):
    """An estimate of log p(x), and what tells how far it can be trusted.

    Attributes:
        log_evidence: log 1/C sum_c w_c, in nats; in expectation at most log p(x).
        log_weights: the chains' log weights, [C], in nats.
        effective_sample_size: (sum w)^2 / sum w^2, between 1 and C.
        standard_error: standard error of log_evidence, in nats; see `log_mean_weight`.
        acceptance_rate: mean over the chains at each intermediate temperature, [T].
        step_sizes: the chains' step sizes, in units of the prior, [T].
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
    """Estimates log p(x) of one example by annealed importance sampling, without a posterior.

    log p(x) ~= log 1/C sum_c w_c,   w_c from `forward_log_weight`   (GAPS 6.5)

    A pilot run chooses the step sizes (`pilot_step_sizes`), which stay fixed in the chains that
    count; these all run at once. Every call compiles its own program and returns NumPy arrays, so
    it cannot be vmapped. Use `annealed_bounds.forward_bounds` for many images of a trained model.

    Args:
        rng: key for the noise of the pilot and of the chains.
        decode: maps one latent [m] to the likelihood's parameters.
        x: one example.
        likelihood: p(x|z), with `log_prob(x, parameters)`.
        latent_size: m.
        num_chains: C, the number of chains.
        num_temperatures: T, the distributions strictly between prior and posterior.
        num_leapfrog_steps: leapfrog steps of each transition.
        schedule: how the temperatures are spaced, one of `annealing.SCHEDULES`.
        prior_stddev: prior standard deviations, a scalar or [m].
        pilot_chains: chains of the pilot.

    Returns:
        The estimate, with its standard error and the chains' acceptance rates.

    Raises:
        ValueError: if the schedule is unknown, or a number is less than 1.
    """
    counts = (latent_size, num_chains, num_temperatures, num_leapfrog_steps, pilot_chains)
    if min(counts) < 1:
        raise ValueError(
            "latent_size, num_chains, num_temperatures, num_leapfrog_steps and pilot_chains must be"
            f" at least 1, got {counts}"
        )
    betas = temperatures(num_temperatures, schedule)
    settings: dict[str, Any] = {
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
