"""The linearised posterior: exact for a linear model, by NumPy for others, finite in saturation."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.errors import RunError
from sfvae_jax.evaluation import NotApplicable
from sfvae_jax.evaluation.linearization.constant_variance import precisions
from sfvae_jax.evaluation.linearization.posterior import inverse_factor, linearized_posteriors

WEIGHTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
VARIANCE, PRIOR = 0.3, np.array([1.5, 0.7, 2.0])
PRECISION = np.diag(PRIOR**-2) + WEIGHTS.T.astype(float) @ WEIGHTS / VARIANCE


class Model(nn.Module):
    """A linear decoder with a bias; the code is the posterior's mean, or what the pixels say."""

    exact: bool = True
    bias: float = 0.0

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        gain = np.linalg.solve(PRECISION, WEIGHTS.T / VARIANCE)
        mean = jnp.array(gain, jnp.float32) @ x.ravel() if self.exact else x.ravel()[:3]
        return posteriors.DiagonalGaussian(mean, jnp.ones(3))

    def decode(self, z):
        return (self.weights @ z + self.bias).reshape(2, 3)


def _trained(model=None, **changes):
    return evaluation.TrainedModel(
        **{
            "model": model or Model(),
            "params": {"params": {"weights": WEIGHTS}},
            "images": np.random.default_rng(1).integers(0, 256, (4, 2, 3), np.uint8),
            "rng": jax.random.key(0),
            "config": base_config().evaluations,
            "likelihood": likelihoods.Gaussian(VARIANCE),
            "prior_stddev": PRIOR,
            **changes,
        }
    )


def _covariance(full):
    factor = full.scale_tril.astype(float)
    np.testing.assert_array_equal(factor, np.tril(factor))
    assert (np.diagonal(factor, axis1=1, axis2=2) > 0).all()
    return factor @ factor.swapaxes(1, 2)


def test_a_linear_model_has_its_exact_posterior():
    trained = _trained()
    full, diagonal = linearized_posteriors(trained, trained.images)
    x = trained.images.reshape(4, 6) / 255.0
    means = np.linalg.solve(PRECISION, WEIGHTS.T @ x.T / VARIANCE).T
    np.testing.assert_allclose(full.mean, means, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(diagonal.mean, full.mean)
    exact = np.linalg.inv(PRECISION)
    np.testing.assert_allclose(_covariance(full), np.tile(exact, (4, 1, 1)), rtol=1e-4)


def test_the_diagonal_posterior_is_the_nearest_one():
    """By SciPy, over log stddev: KL(q || N(mu, P^-1)) less what does not depend on q."""

    def divergence(log_stddev):
        return 0.5 * np.diag(PRECISION) @ np.exp(2 * log_stddev) - log_stddev.sum()

    best = np.exp(scipy.optimize.minimize(divergence, np.zeros(3), tol=1e-10).x)
    trained = _trained()
    _, diagonal = linearized_posteriors(trained, trained.images)
    np.testing.assert_allclose(diagonal.stddev, np.tile(best, (4, 1)), rtol=1e-4)


def test_the_center_is_the_encoders_and_the_prior_may_be_a_scalar():
    trained = _trained(Model(exact=False), prior_stddev=1.0, data_scale=3.0)
    full, diagonal = linearized_posteriors(trained, trained.images[:2])
    expected = trained.images.reshape(4, 6)[:2, :3] * 3.0 / 255.0
    np.testing.assert_allclose(full.mean, expected, rtol=1e-5)
    precision = np.eye(3) + WEIGHTS.T @ WEIGHTS / VARIANCE
    np.testing.assert_allclose(diagonal.stddev[0], np.diag(precision) ** -0.5, rtol=1e-4)
    np.testing.assert_allclose(_covariance(full)[1], np.linalg.inv(precision), rtol=1e-4)


@pytest.mark.parametrize("bias", [0.0, 5.0, -12.0, 12.0, -30.0, 30.0, -100.0, 100.0])
def test_a_bernoulli_likelihood_uses_the_jacobian_of_its_logits(bias):
    """J' p (1 - p) J with J of the logits, in float64, under weights that keep 1e-13 in sight."""
    scale = 1.0 if abs(bias) < 20 else 1e6
    model = Model(exact=False, bias=bias)
    trained = _trained(model, likelihood=likelihoods.Bernoulli())
    trained = dataclasses.replace(trained, images=np.zeros((1, 2, 3), np.uint8))
    trained = dataclasses.replace(trained, params={"params": {"weights": scale * WEIGHTS}})
    found = precisions(trained)[0] - np.diag(PRIOR**-2)
    mass = 1 / (2 + 2 * np.cosh(bias))  # p (1 - p)
    expected = scale**2 * mass * WEIGHTS.T.astype(float) @ WEIGHTS
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    full, diagonal = linearized_posteriors(trained, trained.images)
    covariance = np.linalg.inv(np.diag(PRIOR**-2) + expected)
    np.testing.assert_allclose(_covariance(full)[0], covariance, rtol=2e-3, atol=1e-6)
    assert np.isfinite(diagonal.stddev).all()


def test_the_prior_is_kept_if_float32_rounds_it_away():
    """Two nearly equal latents that the pixels know to 1e-6: J' F J is singular in float32."""
    column = np.linspace(1, 2, 6)[:, None]
    weights = (1e5 * np.hstack([column, column, 0 * column])).astype(np.float32)
    trained = _trained(params={"params": {"weights": weights}})
    full, diagonal = linearized_posteriors(trained, trained.images)
    covariance = _covariance(full)
    assert np.isfinite(diagonal.stddev).all()
    # Along z_1 - z_2 and z_3 the pixels say nothing: within the prior, for a rounding of 1e5.
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    np.testing.assert_allclose(covariance[:, 2, 2], PRIOR[2] ** 2, rtol=1e-4)
    assert (covariance[:, 0, 0] <= PRIOR[0] ** 2 * 1.001).all()


def test_the_factor_of_an_inverse():
    rng = np.random.default_rng(0)
    square = rng.normal(size=(5, 4, 4))
    precision = square @ square.swapaxes(1, 2) + 0.01 * np.eye(4)
    factor = inverse_factor(precision)
    np.testing.assert_allclose(
        factor @ factor.swapaxes(1, 2), np.linalg.inv(precision), rtol=1e-8, atol=1e-8
    )
    np.testing.assert_array_equal(factor, np.tril(factor))


def test_a_model_without_a_linearised_posterior_says_why():
    trained = _trained(no_bound="no density")
    with pytest.raises(NotApplicable, match="no density"):
        linearized_posteriors(trained, trained.images)
    trained = _trained(prior_stddev=None)
    with pytest.raises(NotApplicable, match="without a prior"):
        linearized_posteriors(trained, trained.images)
    broken = _trained(params={"params": {"weights": np.full_like(WEIGHTS, np.nan)}})
    with pytest.raises(RunError, match="not finite"):
        linearized_posteriors(broken, broken.images)
