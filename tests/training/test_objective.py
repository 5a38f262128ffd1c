"""A config's values reach the objective it names."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from sfvae_jax import config as configuration
from sfvae_jax import objectives
from sfvae_jax.posteriors import DiagonalGaussian
from sfvae_jax.training import objective

WEIGHTS = np.array([[1.0, -0.5], [0.3, 0.8], [-1.2, 0.4]])
X = np.array([0.2, -0.1, 0.9])
MEAN, STDDEV = np.array([0.4, -0.2]), np.array([0.8, 0.3])


def _log_likelihood(config, gamma, key):
    """That of a batch of one example, whose place is 0."""
    loss = objective.build_loss(configuration.resolve(config), None)
    functions = objective.Functions(
        encode=lambda x: DiagonalGaussian(jnp.array(MEAN), jnp.array(STDDEV)),
        decode=lambda z: jnp.array(WEIGHTS, z.dtype) @ z,
        decoder_params={},
    )
    weights = objective.Weights(gamma=gamma, beta=1.0, entropy=1.0)
    return loss(key, functions, jnp.array(X)[None], weights)[1]["log_likelihood"]


def test_every_objective_of_the_table_can_be_built():
    assert objective._BUILDERS.keys() == objectives.OBJECTIVES.keys()


def test_sampling_free_has_the_configs_variance_and_the_steps_gamma(float64, tiny_config):
    config = tiny_config(**{"likelihood.variance": 0.7})
    obtained = _log_likelihood(config, 0.3, jax.random.key(0))
    residual = WEIGHTS @ MEAN - X
    covariance = WEIGHTS * STDDEV**2 @ WEIGHTS.T + 0.7 * np.eye(3)
    full = scipy.stats.multivariate_normal(np.zeros(3), covariance).logpdf(residual)
    exact = residual @ np.linalg.solve(covariance, residual)
    expected = full - 0.5 * (1 - 0.3) * (residual @ residual / 0.7 - exact)
    np.testing.assert_allclose(obtained, expected, rtol=1e-10)


def test_sampling_has_the_configs_variance_and_number_of_samples(float64, keys, tiny_config):
    """Mean and deviation of 4-sample estimates over 4,000 keys, by their closed forms."""
    config = tiny_config(
        **{"objective.name": "sampling", "objective.num_samples": 4, "likelihood.variance": 0.7}
    )
    draws = jax.vmap(lambda key: _log_likelihood(config, 0.5, key))(
        jax.random.split(next(keys), 4000)
    )
    # |W z - x|^2 for z = mean + S e: r'r + 2 r'WS e + e'SW'WS e, a quadratic form of normals.
    residual, factor = WEIGHTS @ MEAN - X, WEIGHTS * STDDEV
    form = factor.T @ factor
    mean = residual @ residual + np.trace(form)
    variance = 4 * np.sum((residual @ factor) ** 2) + 2 * np.sum(form**2)
    expected = -1.5 * np.log(2 * np.pi * 0.7) - mean / 1.4
    deviation = np.sqrt(variance) / 1.4 / np.sqrt(4)
    assert abs(draws.mean() - expected) < 4 * deviation / np.sqrt(4000)
    np.testing.assert_allclose(draws.std(), deviation, rtol=0.1)
