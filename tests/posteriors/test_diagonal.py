"""The diagonal Gaussian posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from sfvae_jax.posteriors import DiagonalGaussian

MEAN, STDDEV = np.array([0.4, -2.0]), np.array([0.5, 3.0])


def _posterior():
    return DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV))


def test_log_prob_of_a_sample_is_scipys(float64):
    z, log_prob = _posterior().sample_and_log_prob(jax.random.key(0))
    expected = scipy.stats.norm(MEAN, STDDEV).logpdf(z).sum()
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


def test_samples_have_mean_and_variance(keys):
    """10,000 draws; mean and variance within 4 standard errors."""
    z, _ = jax.vmap(_posterior().sample_and_log_prob)(jax.random.split(next(keys), 10_000))
    assert np.all(np.abs(z.mean(axis=0) - MEAN) < 4 * STDDEV / 100)
    assert np.all(np.abs(z.var(axis=0) / STDDEV**2 - 1) < 4 * np.sqrt(2) / 100)


def test_path_log_prob_has_the_value_but_not_the_score(float64):
    """The density's parameters are stopped: d log q / d mean is then -(z - mean) / stddev^2."""

    def log_prob(mean, method):
        posterior = DiagonalGaussian(mean, jnp.array(STDDEV))
        return getattr(posterior, method)(jax.random.key(0))[1]

    mean = jnp.array(MEAN)
    plain, path = "sample_and_log_prob", "sample_and_path_log_prob"
    np.testing.assert_allclose(log_prob(mean, path), log_prob(mean, plain), rtol=1e-12)
    z, _ = _posterior().sample_and_log_prob(jax.random.key(0))
    np.testing.assert_allclose(jax.grad(log_prob)(mean, plain), 0.0, atol=1e-12)
    np.testing.assert_allclose(jax.grad(log_prob)(mean, path), -(z - MEAN) / STDDEV**2, rtol=1e-10)


def test_kl_by_samples(keys):
    """E_q [log q - log p] over 20,000 draws, within 4 standard errors of the closed form."""
    z, log_q = jax.vmap(_posterior().sample_and_log_prob)(jax.random.split(next(keys), 20_000))
    draws = np.asarray(log_q) - scipy.stats.norm(0, 1.5).logpdf(z).sum(axis=1)
    standard_error = draws.std(ddof=1) / np.sqrt(len(draws))
    posterior = _posterior()
    assert abs(draws.mean() - posterior.kl_to_prior(1.5)) < 4 * standard_error
    np.testing.assert_allclose(
        posterior.kl_to_prior(1.5), -(posterior.expected_log_prior(1.5) + posterior.entropy()), 1e-6
    )
