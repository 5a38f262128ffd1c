"""Measures of a hand-made linear model, against NumPy."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import evaluation, likelihoods
from sfvae_jax.config import base_config
from sfvae_jax.errors import RunError
from sfvae_jax.posteriors import DiagonalGaussian

STDDEV = np.array([0.5, 1.0])


class Linear(nn.Module):
    """Encodes the first two pixels as the mean; decodes by `weights`."""

    def setup(self):
        self.weights = self.param("weights", nn.initializers.ones, (6, 2))

    def encode(self, x):
        return DiagonalGaussian(x.ravel()[:2], jnp.array(STDDEV, jnp.float32))

    def decode(self, z):
        return (self.weights @ z).reshape(2, 3)

    def __call__(self, x):
        return self.decode(self.encode(x).mean)


class OneDead(Linear):
    """Its first stddev is the prior's."""

    def encode(self, x):
        return DiagonalGaussian(x.ravel()[:2], jnp.array([1.0, 0.5]))


@pytest.fixture
def trained():
    rng = np.random.default_rng(0)
    config = base_config().evaluations
    config.batch_size = 7  # does not divide the number of images
    weights = rng.normal(size=(6, 2)).astype(np.float32)
    images = rng.integers(0, 256, size=(40, 2, 3), dtype=np.uint8)
    params = {"params": {"weights": weights}}
    config.names = ("collapse", "kl_divergence", "reconstruction")
    likelihood = likelihoods.Gaussian(0.3)
    return evaluation.TrainedModel(Linear(), params, images, jax.random.key(3), config, likelihood)


def _by_hand(trained):
    x = trained.images.reshape(40, 6) / 255.0
    weights = trained.params["params"]["weights"].astype(float)
    return x, weights, x[:, :2]


def test_kl(trained):
    _, _, means = _by_hand(trained)
    kl = 0.5 * (means**2 + STDDEV**2 - 1 - np.log(STDDEV**2))
    np.testing.assert_allclose(evaluation.kl_matrix(trained), kl, rtol=1e-5, atol=1e-7)
    metrics, *_ = evaluation.measure(trained)
    np.testing.assert_allclose(metrics["kl_divergence"], kl.sum(axis=1).mean(), rtol=1e-5)
    collapsed = (kl < 0.05).mean(axis=0) >= 0.99
    assert metrics["collapse_fraction"] == collapsed.mean()


def test_collapse_of_posteriors_with_literal_answers(trained):
    """Dimension 0 at the prior on all images but one of 200, dimension 1 away from it on all."""
    images = np.zeros((200, 2, 3), np.uint8)
    images[0, 0, 0] = 255
    away = dataclasses.replace(trained, model=OneDead(), images=images)
    kl = evaluation.kl_matrix(away)
    np.testing.assert_allclose(kl[0], [0.5, 0.3181472], rtol=1e-5)  # 1/2; (1/4 - 1 + log 4) / 2
    np.testing.assert_allclose(kl[1:, 0], 0.0, atol=1e-7)
    assert evaluation.measure(away)[0]["collapse_fraction"] == 0.5


def test_a_diverged_model_has_no_measures(trained):
    broken = jax.tree.map(lambda weights: weights * np.inf, trained.params)
    with pytest.raises(RunError, match="not finite at this checkpoint: reconstruction_error"):
        evaluation.measure(dataclasses.replace(trained, params=broken))


def test_reconstruction_at_the_mean_and_at_a_sample(trained):
    """At the mean exactly; at samples, tr(W diag(h) W') more within 4 standard errors."""
    x, weights, means = _by_hand(trained)
    at_mean, at_sample = evaluation.squared_errors(trained, num_samples=2000)
    expected = np.sum((means @ weights.T - x) ** 2, axis=1)
    np.testing.assert_allclose(at_mean, expected, rtol=1e-4)
    metrics, *_ = evaluation.measure(trained)
    np.testing.assert_allclose(metrics["reconstruction_error"], expected.mean(), rtol=1e-4)
    excess = at_sample - expected
    standard_error = excess.std(ddof=1) / np.sqrt(len(excess))
    assert abs(excess.mean() - np.sum(weights**2 * STDDEV**2)) < 4 * standard_error


def test_batches_do_not_change_the_noise(trained):
    small, *_ = evaluation.measure(trained)
    trained.config.batch_size = 40
    assert evaluation.measure(trained)[0] == pytest.approx(small, rel=1e-5)


def test_only_the_named_evaluations_run(trained):
    trained.config.names = ("collapse",)
    assert set(evaluation.measure(trained)[0]) == {"collapse_fraction"}
