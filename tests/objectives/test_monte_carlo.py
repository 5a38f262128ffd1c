"""The sampling ELBO on linear decoders, where its expectation is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sfvae_jax import likelihoods, objectives, posteriors

WEIGHTS = np.random.default_rng(0).normal(size=(6, 2))
X = np.linspace(-1.0, 1.5, 6)
MEAN, STDDEV, VARIANCE = np.array([0.4, -0.2]), np.array([0.8, 0.3]), 0.5
POSTERIOR = posteriors.DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV))


def _decode(z):
    return jnp.array(WEIGHTS, z.dtype) @ z


def _elbo(rng, num_samples, **options):
    return objectives.sampling_elbo(
        rng,
        _decode,
        jnp.array(X),
        POSTERIOR,
        likelihoods.Gaussian(VARIANCE),
        num_samples=num_samples,
        **options,
    )


def _log_likelihoods(num_samples, keys):
    """One a key."""
    return jax.jit(jax.vmap(lambda key: _elbo(key, num_samples).log_likelihood))(keys)


def _closed_form_log_likelihood():
    """E_q log N(x; W z, c I) = log N(x; W mean, c I) - tr(W diag(h) W') / (2 c)."""
    residual = WEIGHTS @ MEAN - X
    spread = np.sum(np.square(WEIGHTS) * np.square(STDDEV))
    return -0.5 * (6 * np.log(2 * np.pi * VARIANCE) + (residual @ residual + spread) / VARIANCE)


@pytest.mark.parametrize("num_samples", [1, 5])
def test_mean_meets_the_closed_form(keys, num_samples):
    """Mean over 20,000 draws within 4 standard errors."""
    draws = _log_likelihoods(num_samples, jax.random.split(next(keys), 20_000))
    standard_error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - _closed_form_log_likelihood()) < 4 * standard_error
    # Not because the error bar is wide: a shift of 2% of the value would show.
    assert 4 * standard_error < 0.02 * abs(_closed_form_log_likelihood())


def test_more_samples_less_noise(keys):
    deviations = [np.std(_log_likelihoods(k, jax.random.split(next(keys), 2000))) for k in (1, 16)]
    # The deviation falls as 1/sqrt(k): by 4, known here to about 3% a deviation.
    np.testing.assert_allclose(deviations[0] / deviations[1], 4.0, rtol=0.2)


def test_sampling_free_is_no_less_than_the_sampling_elbo(float64):
    """Jensen on a linear decoder: log E_q p(x|z) >= E_q log p(x|z), the KL being the same."""

    @jax.jit
    def both(x, mean, stddev):
        free = objectives.sampling_free_elbo(
            _decode, x, mean, stddev, observation_variance=VARIANCE
        )
        return free.log_likelihood, free.kl, _elbo(jax.random.key(0), 1).kl

    log_likelihood, kl, expected = both(X, MEAN, STDDEV)
    assert log_likelihood > _closed_form_log_likelihood()
    np.testing.assert_allclose(kl, expected, rtol=1e-6)


def test_prior_stddev_and_parts(float64):
    prior = np.array([2.0, 0.5])

    @jax.jit
    def parts(mean, stddev):
        elbo = objectives.sampling_elbo(
            jax.random.key(0),
            _decode,
            jnp.array(X),
            posteriors.DiagonalGaussian(mean, stddev),
            likelihoods.Gaussian(VARIANCE),
            prior_stddev=jnp.array(prior),
        )
        return elbo.kl_per_dimension, elbo.kl, elbo.log_likelihood, elbo.value

    kl_per_dimension, kl, log_likelihood, value = jax.device_get(parts(MEAN, STDDEV))
    expected = np.log(prior / STDDEV) + (STDDEV**2 + MEAN**2) / (2 * prior**2) - 0.5
    np.testing.assert_allclose(kl_per_dimension, expected, rtol=1e-12)
    np.testing.assert_allclose(kl, expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(value, log_likelihood - kl, rtol=1e-12)


def test_the_same_key_draws_the_same():
    value = jax.jit(lambda key: _elbo(key, 3).value)
    first, second = (value(jax.random.key(7)) for _ in range(2))
    assert first == second
    assert first != value(jax.random.key(8))


@pytest.mark.parametrize("num_samples", [1, 3])
def test_gradients(float64, num_samples):
    """With respect to decoder, data, mean, stddev and variance at a fixed key."""

    @jax.jit
    def value(scale, x, mean, stddev, variance):
        return objectives.sampling_elbo(
            jax.random.key(0),
            lambda z: jnp.tanh(scale * _decode(z)),
            x,
            posteriors.DiagonalGaussian(mean, stddev),
            likelihoods.Gaussian(variance),
            num_samples=num_samples,
        ).value

    arguments = (1.3, X, MEAN, STDDEV, VARIANCE)
    check_grads(value, tuple(jnp.array(a) for a in arguments), order=1)


def test_a_posterior_without_closed_forms(keys):
    """Only `sample_and_log_prob`: its sampled KL meets the closed one within 4 standard errors."""

    class Bare:
        sample_and_log_prob = POSTERIOR.sample_and_log_prob

    def kl(key):
        return objectives.sampling_elbo(
            key, _decode, jnp.array(X), Bare(), likelihoods.Gaussian(VARIANCE), prior_stddev=1.5
        ).kl

    draws = jax.jit(jax.vmap(kl))(jax.random.split(next(keys), 20_000))
    standard_error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - POSTERIOR.kl_to_prior(1.5)) < 4 * standard_error


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        _elbo(jax.random.key(0), 0)
