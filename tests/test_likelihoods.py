"""Likelihoods against SciPy and their own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax.likelihoods import Gaussian

MEAN = np.array([[0.2, 0.9], [0.0, -1.0]])


@pytest.mark.parametrize("variance", [0.5, np.array([[0.1, 2.0], [3.0, 0.4]])])
def test_gaussian(float64, keys, variance):
    likelihood = Gaussian(jnp.asarray(variance))
    x = np.array([[1.0, 0.0], [0.5, 0.25]])
    expected = scipy.stats.norm(MEAN, np.sqrt(variance)).logpdf(x).sum()
    log_prob = likelihood.log_prob(jnp.array(x), jnp.array(MEAN))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    np.testing.assert_array_equal(likelihood.mean(jnp.array(MEAN)), MEAN)

    # 10,000 draws; mean and variance within 4 standard errors.
    draws = jax.vmap(likelihood.sample, (0, None))(
        jax.random.split(next(keys), 10_000), jnp.array(MEAN)
    )
    scale = np.sqrt(np.broadcast_to(variance, MEAN.shape))
    assert np.all(np.abs(draws.mean(axis=0) - MEAN) < 4 * scale / 100)
    assert np.all(np.abs(draws.var(axis=0) / variance - 1) < 4 * np.sqrt(2) / 100)


def test_gaussian_fisher_is_the_negative_hessian_of_the_mean(float64):
    likelihood = Gaussian(jnp.array([0.5, 2.0]))
    mean = jnp.array([0.3, 0.4])
    hessian = jax.hessian(likelihood.log_prob, 1)(jnp.array([1.0, 0.0]), mean)
    np.testing.assert_allclose(np.diag(likelihood.fisher(mean)), -hessian, rtol=1e-12)


def test_gaussian_is_a_pytree():
    assert jax.tree.leaves(Gaussian(jnp.array(0.5))) == [jnp.array(0.5)]
