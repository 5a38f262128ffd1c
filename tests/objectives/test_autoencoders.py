"""Losses of deterministic autoencoders against NumPy, SciPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from small_decoders import WEIGHTS, X, Z, curved, linear

from sfvae_jax import objectives
from sfvae_jax.likelihoods import Gaussian
from sfvae_jax.objectives import ArgumentError


def test_squared_error_and_rae_loss():
    """Errors of 0, 2, 1 and 5; |z|^2 = 5."""
    x, z = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1.0, 2.0])

    def decode(z):
        return jnp.array([[z[0], 0.0], [z[1], -1.0]])

    @jax.jit
    def losses(x, z):
        options = {"beta": 0.5, "penalty": 3.0}, {"beta": 0.5}, {"beta": 0.0}
        rae = [objectives.rae_loss(decode, x, z, **option) for option in options]
        return [objectives.squared_error(decode, x, z), *rae]

    assert losses(x, z) == [30.0, 34.25, 31.25, 30.0]
    for loss in (objectives.squared_error, lambda *a: objectives.rae_loss(*a, beta=1.0)):
        with pytest.raises(ArgumentError):
            loss(decode, jnp.ones(2), z)  # which would broadcast
        with pytest.raises(ArgumentError):
            loss(decode, x, z[None])


def test_rae_loss_in_nats(float64):
    """-log N by SciPy for the squared error; of variance 1/2 they differ by a constant."""
    likelihood, options = Gaussian(0.5), {"beta": 0.5, "penalty": 3.0}

    @jax.jit
    def losses(x, z):
        nats = objectives.rae_loss(linear, x, z, likelihood=likelihood, **options)
        return nats, objectives.rae_loss(linear, x, z, **options)

    nats, squares = losses(jnp.array(X), jnp.array(Z))
    density = scipy.stats.norm(WEIGHTS @ Z, np.sqrt(0.5)).logpdf(X.ravel()).sum()
    np.testing.assert_allclose(nats, -density + 0.25 * Z @ Z + 3.0, rtol=1e-12)
    np.testing.assert_allclose(nats - squares, 3.0 * np.log(np.pi), rtol=1e-12)
    with pytest.raises(ArgumentError):
        objectives.rae_loss(linear, X, Z[None], beta=1.0, likelihood=likelihood)


@pytest.mark.parametrize("variance", [0.5, np.array([0.2, 1.0, 0.0])])
def test_cv_vae_loss_has_the_expectation_of_a_linear_decoder(keys, variance):
    """|x - W mean|^2 + tr(W diag(variance) W') + beta |mean|^2 over 20,000 draws, within 4
    standard errors, which are less than 3 % of it."""
    x, mean = jnp.array(X, jnp.float32), jnp.array(Z, jnp.float32)

    def loss(key):
        return objectives.cv_vae_loss(
            key, linear, x, mean, variance=jnp.asarray(variance, jnp.float32), beta=2.0
        )

    draws = jax.device_get(jax.jit(jax.vmap(loss))(jax.random.split(next(keys), 20_000)))
    expected = np.sum((X.ravel() - WEIGHTS @ Z) ** 2) + np.sum(WEIGHTS**2 * variance)
    expected += 2.0 * Z @ Z
    standard_error = np.std(draws, ddof=1) / np.sqrt(20_000)
    assert abs(np.mean(draws, dtype=float) - expected) < 4 * standard_error
    assert 4 * standard_error < 0.03 * expected


def test_cv_vae_loss_without_noise_is_the_rae_loss(float64):
    """With beta doubled: it weighs |mean|^2 by beta, the RAE |z|^2 by beta / 2."""
    x, mean = jnp.array(X), jnp.array(Z)

    @jax.jit
    def both(x, mean):
        key = jax.random.key(0)
        cv = objectives.cv_vae_loss(key, curved, x, mean, variance=0.0, beta=0.7)
        return cv, objectives.rae_loss(curved, x, mean, beta=1.4)

    obtained, expected = both(x, mean)
    np.testing.assert_allclose(obtained, expected, rtol=1e-14)
    by_hand = np.sum((X.ravel() - np.tanh(WEIGHTS @ Z + 0.1 * Z @ Z)) ** 2) + 0.7 * Z @ Z
    np.testing.assert_allclose(obtained, by_hand, rtol=1e-12)
