"""Closed forms of diagonal Gaussians against SciPy and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from jax.test_util import check_grads

from sfvae_jax import objectives

MEAN = np.array([0.3, -1.2, 2.0])
STDDEV = np.array([0.5, 1.0, 3.0])
PRIOR_STDDEV = np.array([1.0, 2.0, 0.7])


def _expectation(function, mean, stddev):
    density = scipy.stats.norm(mean, stddev).pdf
    low, high = mean - 12 * stddev, mean + 12 * stddev
    return scipy.integrate.quad(lambda z: density(z) * function(z), low, high, epsabs=1e-12)[0]


def test_log_prob_is_scipys(float64):
    x = np.array([[0.1, 0.2], [-3.0, 4.0]])
    mean = np.array([[0.0, 1.0], [-1.0, 2.5]])
    for variance in (0.5, np.array([[0.1, 2.0], [3.0, 4.0]])):
        expected = scipy.stats.norm(mean, np.sqrt(variance)).logpdf(x).sum()
        obtained = objectives.gaussian_log_prob(jnp.array(x), jnp.array(mean), variance)
        np.testing.assert_allclose(obtained, expected, rtol=1e-12)


def test_entropy_is_scipys(float64):
    expected = scipy.stats.norm(0, STDDEV).entropy().sum()
    np.testing.assert_allclose(objectives.gaussian_entropy(jnp.array(STDDEV)), expected, rtol=1e-12)


@pytest.mark.parametrize("prior_stddev", [1.0, PRIOR_STDDEV])
def test_prior_term_and_kl_by_quadrature(float64, prior_stddev):
    priors = np.broadcast_to(prior_stddev, 3)
    cross = [
        _expectation(scipy.stats.norm(0, s).logpdf, m, d)
        for m, d, s in zip(MEAN, STDDEV, priors, strict=True)
    ]
    negative_entropy = [
        _expectation(scipy.stats.norm(m, d).logpdf, m, d) for m, d in zip(MEAN, STDDEV, strict=True)
    ]
    arguments = (jnp.array(MEAN), jnp.array(STDDEV), jnp.asarray(prior_stddev))
    np.testing.assert_allclose(
        objectives.gaussian_expected_log_prior(*arguments), np.sum(cross), rtol=1e-9
    )
    np.testing.assert_allclose(
        objectives.gaussian_kl_per_dimension(*arguments),
        np.subtract(negative_entropy, cross),
        rtol=1e-8,
    )


def test_kl_literal_values():
    # KL(N(1, 1) || N(0, 1)) = 1/2; KL(N(0, 4) || N(0, 1)) = (4 - 1 - log 4) / 2.
    obtained = objectives.gaussian_kl_per_dimension(
        jnp.array([0.0, 1.0, 0.0]), jnp.array([1, 1, 2.0])
    )
    np.testing.assert_allclose(obtained, [0.0, 0.5, 0.8068528], rtol=1e-6)


def test_kl_keeps_its_digits_near_collapse():
    """float32, stddev within 1e-3 of 1: nearer to float64 than exp(v) - 1 - v is, v = log var."""
    stddev = np.linspace(1.0001, 1.001, 20, dtype=np.float32)
    log_variance = 2 * np.log(stddev.astype(np.float64))
    expected = 0.5 * (np.expm1(log_variance) - log_variance)
    obtained = objectives.gaussian_kl_per_dimension(jnp.zeros(20), jnp.array(stddev))
    narrow = log_variance.astype(np.float32)
    usual = 0.5 * (np.exp(narrow) - 1 - narrow)
    assert np.abs(obtained - expected).max() < 1e-9
    assert np.abs(usual - expected).max() > 1e-8


@pytest.mark.parametrize("stddev", [1e-8, 1e4])
def test_extremes_are_finite_with_finite_gradients(stddev):
    value, grads = jax.value_and_grad(
        lambda m, s: objectives.gaussian_kl_per_dimension(m, s).sum(), (0, 1)
    )(jnp.array([3.0]), jnp.array([stddev]))
    assert np.isfinite(value)
    assert np.isfinite(grads).all()


def test_gradients(float64):
    kl = jax.jit(objectives.gaussian_kl_per_dimension)
    check_grads(kl, (jnp.array(MEAN), jnp.array(STDDEV)), 2)


def test_shapes_are_checked():
    with pytest.raises(objectives.ArgumentError):
        objectives.gaussian_log_prob(jnp.zeros(3), jnp.zeros(2), 1.0)
    with pytest.raises(objectives.ArgumentError):
        objectives.gaussian_kl_per_dimension(jnp.zeros((2, 3)), jnp.ones((2, 3)))
