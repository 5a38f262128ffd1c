"""Objectives estimated with reparameterised samples of the posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.gaussian import gaussian_log_prob


def sampling_elbo(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: Any,
    likelihood: Any,
    *,
    num_samples: int = 1,
    prior_stddev: Array | float = 1.0,
) -> Elbo:
    """The ELBO with its expected log likelihood estimated from k reparameterised samples.

    log_likelihood = 1/k sum_k log p(x | decode(z_k)),   z_k ~ q(z|x)
    kl             = KL(q(z|x) || N(0, diag(prior_stddev^2))), in closed form where the posterior
                     has one, else 1/k sum_k [log q(z_k|x) - log p(z_k)]

    (SFVAE Eqs. 7-9, after Kingma and Welling.) Unbiased, and a lower bound of log p(x) in
    expectation.

    Args:
        rng: key of this example's noise.
        decode: maps one latent [m] to the likelihood's parameters.
        x: one example.
        posterior: q(z|x), with `sample_and_log_prob`, such as `posteriors.DiagonalGaussian`. Its
            closed forms are `expected_log_prior`, `entropy` and, if it has it, `kl_per_dimension`.
        likelihood: p(x|z), with `log_prob(x, parameters)`, such as `likelihoods.Gaussian`.
        num_samples: k, at least 1.
        prior_stddev: prior standard deviations, a scalar or [m].

    Returns:
        An `Elbo` of scalars, in nats, with `kl_per_dimension` [m] where it has a closed form.

    Raises:
        ValueError: if num_samples is less than 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")

    z, log_q = jax.vmap(posterior.sample_and_log_prob)(jax.random.split(rng, num_samples))
    log_likelihood = jnp.mean(jax.vmap(lambda z: likelihood.log_prob(x, decode(z)))(z))
    if not hasattr(posterior, "entropy"):
        log_prior = jax.vmap(lambda z: _log_prior(z, prior_stddev))(z)
        return Elbo(log_likelihood, jnp.mean(log_prior), -jnp.mean(log_q))
    per_dimension = getattr(posterior, "kl_per_dimension", lambda _: None)
    return Elbo(
        log_likelihood=log_likelihood,
        log_prior=posterior.expected_log_prior(prior_stddev),
        entropy=posterior.entropy(),
        kl_per_dimension=per_dimension(prior_stddev),
    )


def _log_prior(z: Array, prior_stddev: Array | float) -> Array:
    return gaussian_log_prob(z, jnp.zeros_like(z), jnp.square(prior_stddev))
