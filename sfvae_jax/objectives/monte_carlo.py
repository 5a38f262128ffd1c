"""Objectives estimated with reparameterised samples of the posterior."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_at_least_one,
    check_flag,
    check_has,
    check_key,
    check_per_element,
    check_positive,
    check_scalar,
    check_vector,
)
from sfvae_jax.objectives.numerics.gaussian import gaussian_log_prob
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide
from sfvae_jax.objectives.spec import (
    ClosedFormPosterior,
    Example,
    GaussianPosterior,
    Likelihood,
    ObjectiveInfo,
    PathPosterior,
    Posterior,
    has_density,
    has_inverse,
    is_any,
)

_POSTERIOR = "posteriors.DiagonalGaussian(mean, stddev)"


def sampling_elbo(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: Posterior,
    likelihood: Likelihood,
    *,
    num_samples: int = 1,
    antithetic: bool = False,
    prior_stddev: Array | float = 1.0,
) -> Elbo:
    """The ELBO with its expected log likelihood estimated from k reparameterised samples.

    log_likelihood = 1/k sum_k log p(x | decode(z_k)),   z_k ~ q(z|x)
    kl             = KL(q(z|x) || N(0, diag(prior_stddev^2))), in closed form where the posterior
                     has one, else 1/k sum_k [log q(z_k|x) - log p(z_k)]

    (SFVAE Eqs. 7-9, after Kingma and Welling; FLOW Eqs. 11 and 12. For a posterior of z and an
    auxiliary v, log q is log q(z, v|x) - log r(v|x, z), as in GAPS Eqs. 7 and 14.) The estimate is
    unbiased; its expectation is a lower bound of log p(x).

    With `antithetic` the samples come in pairs mean + L e and mean - L e of a Gaussian posterior
    N(mean, L L'). All terms of odd order in e cancel in a pair, in value and gradient, and the
    terms of even order are as noisy as in one sample.

    Args:
        rng: key of this example's noise.
        decode: maps one latent [m] to the likelihood's parameters.
        x: one example.
        posterior: q(z|x), with `sample_and_log_prob`, such as `posteriors.DiagonalGaussian`. Its
            closed forms, if it has any, are `expected_log_prior`, `entropy` and
            `kl_per_dimension`. Pairs require a Gaussian, with `mean` and `deviation(noise)`.
        likelihood: p(x|z), with `log_prob(x, parameters)`, such as `likelihoods.Gaussian`.
        num_samples: k, at least 1.
        antithetic: whether samples come in pairs; k is then even.
        prior_stddev: prior standard deviations, positive, a scalar or [m].

    Returns:
        An `Elbo` of scalars, in nats, with `kl_per_dimension` [m] where it has a closed form.

    Raises:
        ArgumentError: if rng is no key, num_samples is less than 1, or odd with pairs, the shapes
            do not fit, the posterior or the likelihood lacks a method, or a deviation is known not
            to be positive.
    """
    check_likelihood(likelihood)
    check_flag("antithetic", antithetic)
    if antithetic:
        gaussian: Any = posterior  # the next line checks that it is one
        z = samples_at(gaussian, noise_of_samples(rng, gaussian, num_samples, antithetic))
    else:
        z, log_q = _samples(rng, posterior, "sample_and_log_prob", num_samples)
    log_likelihood = jnp.mean(jax.vmap(lambda z: log_likelihood_of(likelihood, x, decode(z)))(z))
    if not isinstance(posterior, ClosedFormPosterior):
        log_prior = jax.vmap(lambda z: _log_prior(z, prior_stddev))(z)
        return Elbo(log_likelihood, jnp.mean(log_prior), -jnp.mean(log_q))
    return closed_form_elbo(log_likelihood, posterior, prior_stddev)


def sticking_the_landing_elbo(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: PathPosterior,
    likelihood: Likelihood,
    *,
    num_samples: int = 1,
    prior_stddev: Array | float = 1.0,
) -> Elbo:
    """The sampled ELBO without the score of the posterior in its gradient.

    1/k sum_k [log p(x | decode(z_k)) + log p(z_k) - log q_stop(z_k|x)],   z_k ~ q(z|x)

    q_stop is q with its parameters held fixed, so that only the path through z_k carries a gradient
    (Roeder, Wu and Duvenaud, 2017; SFVAE Table 3, "Stick"). The score that is left out has mean
    zero, so that the gradient is unbiased; at the exact posterior it is zero for every sample.

    Args:
        rng: key of this example's noise.
        decode: maps one latent [m] to the likelihood's parameters.
        x: one example.
        posterior: q(z|x), with `sample_and_path_log_prob`.
        likelihood: p(x|z), with `log_prob(x, parameters)`.
        num_samples: k, at least 1.
        prior_stddev: prior standard deviations, positive, a scalar or [m].

    Returns:
        An `Elbo` of scalars, in nats; every part is a mean over the samples.

    Raises:
        ArgumentError: if rng is no key, num_samples is less than 1, the shapes do not fit, the
            posterior or the likelihood lacks a method, or a deviation is known not to be positive.
        NotImplementedError: if the posterior has no tractable inverse.
    """
    check_likelihood(likelihood)
    z, log_q = _samples(rng, posterior, "sample_and_path_log_prob", num_samples)
    log_likelihood = jax.vmap(lambda z: log_likelihood_of(likelihood, x, decode(z)))(z)
    log_prior = jax.vmap(lambda z: _log_prior(z, prior_stddev))(z)
    return Elbo(jnp.mean(log_likelihood), jnp.mean(log_prior), -jnp.mean(log_q))


def iwae_bound(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: Posterior,
    likelihood: Likelihood,
    *,
    num_samples: int,
    prior_stddev: Array | float = 1.0,
) -> Array:
    """The importance-weighted bound with k samples.

    log 1/k sum_k p(x | decode(z_k)) p(z_k) / q(z_k|x),   z_k ~ q(z|x)

    (Burda, Grosse and Salakhutdinov, 2016; GAPS Eq. 9.) Its expectation is a lower bound of
    log p(x) and rises towards it with k; k = 1 gives the ELBO with a sampled KL divergence. It is
    computed as a log-sum-exp, so that weights far below the smallest float still count.

    Args:
        rng: key of this example's noise.
        decode: maps one latent [m] to the likelihood's parameters.
        x: one example.
        posterior: q(z|x), with `sample_and_log_prob`.
        likelihood: p(x|z), with `log_prob(x, parameters)`.
        num_samples: k, at least 1.
        prior_stddev: prior standard deviations, positive, a scalar or [m].

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if rng is no key, num_samples is less than 1, the shapes do not fit, the
            posterior or the likelihood lacks a method, or a deviation is known not to be positive.
    """
    check_likelihood(likelihood)
    z, log_q = _samples(rng, posterior, "sample_and_log_prob", num_samples)

    def log_joint(z: Array) -> Array:
        return log_likelihood_of(likelihood, x, decode(z)) + _log_prior(z, prior_stddev)

    log_weights = jax.vmap(log_joint)(z) - log_q  # [k]
    return jax.nn.logsumexp(log_weights) - math.log(num_samples)


def noise_of_samples(
    rng: Array, posterior: GaussianPosterior, num_samples: int, antithetic: bool
) -> Array:
    """Draws the noise e [k, m] of k samples of a Gaussian.

    In pairs, the second half is minus the first. Otherwise it is the noise that the posterior's
    `sample_and_log_prob` draws.

    Raises:
        ArgumentError: if rng is no key, k is less than 1, or odd with pairs, or the posterior is no
            Gaussian.
    """
    check_key(rng)
    check_at_least_one("num_samples", num_samples)
    check_flag("antithetic", antithetic)
    for method in ("deviation", "expected_log_prior", "entropy"):
        check_has("posterior", posterior, method, _POSTERIOR)
    if antithetic and num_samples % 2:
        raise ArgumentError(f"num_samples must be even with antithetic pairs, got {num_samples}")
    keys = jax.random.split(rng, num_samples // 2 if antithetic else num_samples)
    noise = jax.vmap(lambda key: normal_like(key, posterior.mean))(keys)
    return jnp.concatenate([noise, -noise]) if antithetic else noise


def samples_at(posterior: GaussianPosterior, noise: Array) -> Array:
    """The samples z [k, m] of a Gaussian posterior with this noise [k, m]."""
    z = jax.vmap(lambda noise: wide(posterior.mean) + posterior.deviation(noise))(noise)
    return rounded_like(z, *jax.tree.leaves(posterior))


def closed_form_elbo(
    log_likelihood: Array, posterior: ClosedFormPosterior, prior_stddev: Array | float
) -> Elbo:
    """The ELBO with this log likelihood and the posterior's closed-form divergence."""
    per_dimension = getattr(posterior, "kl_per_dimension", lambda _: None)
    return Elbo(
        log_likelihood=log_likelihood,
        log_prior=posterior.expected_log_prior(prior_stddev),
        entropy=posterior.entropy(),
        kl_per_dimension=per_dimension(prior_stddev),
    )


def check_likelihood(likelihood: Likelihood) -> None:
    """Checks that a likelihood has `log_prob`; inside `jax.vmap` the error would be longer."""
    check_has("likelihood", likelihood, "log_prob", "likelihoods.Gaussian(variance)")


def log_likelihood_of(likelihood: Likelihood, x: Array, parameters: Any) -> Array:
    """log p(x|z) of one example in nats, a scalar in at least 32 bits.

    Raises:
        ArgumentError: if the likelihood has no `log_prob`, or it does not return a scalar.
    """
    check_likelihood(likelihood)
    value = likelihood.log_prob(x, parameters)
    check_scalar("likelihood.log_prob(x, parameters)", value)
    return wide(value)


def _samples(
    rng: Array, posterior: Posterior | PathPosterior, method: str, num_samples: int
) -> tuple[Array, Array]:
    """Draws k samples; returns z [k, m] and their log q [k]."""
    check_key(rng)
    check_at_least_one("num_samples", num_samples)
    check_has("posterior", posterior, method, _POSTERIOR)

    def draw(rng: Array) -> tuple[Array, Array]:
        z, log_q = getattr(posterior, method)(rng)
        check_vector("a sample of the posterior", z)
        check_scalar("the posterior's log density", log_q)
        return z, wide(log_q)

    return jax.vmap(draw)(jax.random.split(rng, num_samples))


def _log_prior(z: Array, prior_stddev: Array | float) -> Array:
    check_per_element("prior_stddev", prior_stddev, z)
    check_positive("prior_stddev", prior_stddev)
    return gaussian_log_prob(z, jnp.zeros_like(z), jnp.square(wide(prior_stddev)))


def _estimate(estimator: Callable[..., Any], *options: str) -> Callable[[Example], Any]:
    """Adapts an estimator of this file, with its options, to the `Example` of training."""

    def of_example(example: Example) -> Any:
        return estimator(
            example.rng,
            example.decode,
            example.x,
            example.posterior,
            example.likelihood,
            **{name: getattr(example.options, name) for name in options},
        )

    return of_example


SAMPLING = ObjectiveInfo(
    name="sampling",
    summary="the ELBO estimated from samples of the posterior",
    function="sampling_elbo",
    source="SFVAE Eqs. 7-9",
    of_example=_estimate(sampling_elbo, "num_samples", "antithetic"),
    takes_posterior=has_density,
    takes_likelihood=is_any,
    default_posterior="diagonal",
    closed_form_kl=True,
    parts=True,
    bound="yes, in expectation",
    decoder_passes="num_samples",
    options=("num_samples", "antithetic"),
    default_beta=1.0,
)

STICKING_THE_LANDING = ObjectiveInfo(
    name="sticking_the_landing",
    summary="the sampled ELBO without the score of the posterior in its gradient",
    function="sticking_the_landing_elbo",
    source="SFVAE Table 3, Roeder et al. 2017",
    of_example=_estimate(sticking_the_landing_elbo, "num_samples"),
    takes_posterior=has_inverse,
    takes_likelihood=is_any,
    default_posterior="diagonal",
    parts=True,
    bound="yes, in expectation",
    decoder_passes="num_samples",
    options=("num_samples",),
    default_beta=1.0,
)

IWAE = ObjectiveInfo(
    name="iwae",
    summary="the importance-weighted bound",
    function="iwae_bound",
    source="GAPS Eq. 9",
    of_example=_estimate(iwae_bound, "num_samples"),
    takes_posterior=has_density,
    takes_likelihood=is_any,
    default_posterior="diagonal",
    bound="yes, in expectation",
    decoder_passes="num_samples",
    options=("num_samples",),
)
