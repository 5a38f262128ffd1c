"""Bounds, floating prior and penalty of a linear model, against NumPy; null without them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config, resolve
from sfvae_jax.evaluation.linearization.constant_variance import precisions
from sfvae_jax.measuring.trained import measure, trained_model
from sfvae_jax.training.state import TrainState

WEIGHTS = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
VARIANCE, PRIOR = 0.3, np.array([1.5, 0.7])


class Exact(nn.Module):
    """The linear-Gaussian model with its exact posterior under the prior N(0, diag(PRIOR^2))."""

    family: str = "full_covariance"

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        precision = np.diag(PRIOR**-2) + WEIGHTS.T @ WEIGHTS / VARIANCE
        covariance = np.linalg.inv(precision)
        mean = jnp.array(covariance @ WEIGHTS.T / VARIANCE, jnp.float32) @ x.ravel()
        if self.family == "point":
            return posteriors.Point(mean)
        factor = jnp.array(np.linalg.cholesky(covariance), jnp.float32)
        return posteriors.FullCovarianceGaussian(mean, factor)

    def decode(self, z):
        return (self.weights @ z).reshape(2, 3)

    def __call__(self, x):
        return self.decode(self.encode(x).mean)


@pytest.fixture
def trained():
    config = base_config().evaluations
    # Those of the images alone; what reads other parts of a data set has tests of its own.
    entries = evaluation.EVALUATIONS.items()
    of_images = (
        name for name, entry in entries if not entry.splits and entry.examples != "sequences"
    )
    config.names = tuple(of_images)
    config.batch_size = 7
    config.marginal_likelihood.num_samples = 50
    return evaluation.TrainedModel(
        model=Exact(),
        params={"params": {"weights": WEIGHTS}},
        images=np.random.default_rng(1).integers(0, 256, (20, 2, 3), np.uint8),
        rng=jax.random.key(0),
        config=config,
        likelihood=likelihoods.Gaussian(VARIANCE),
        prior_stddev=PRIOR,
    )


def _log_evidence(trained, scale=1.0):
    x = scale * trained.images.reshape(20, 6) / 255.0
    covariance = WEIGHTS * PRIOR**2 @ WEIGHTS.T + VARIANCE * np.eye(6)
    return scipy.stats.multivariate_normal(np.zeros(6), covariance).logpdf(x).mean()


def test_the_iwae_bound_of_the_exact_posterior_is_the_evidence(trained):
    metrics, reasons, *_ = evaluation.measure(trained)
    assert metrics["iwae_bound"] == pytest.approx(_log_evidence(trained), rel=1e-4)
    constant = 3 * np.log(2 * np.pi * VARIANCE)
    expected = -_log_evidence(trained) - constant
    assert metrics["nll_without_constant"] == pytest.approx(expected, rel=1e-4)
    # Gradient noise requires a prior that does not float.
    names = evaluation.metric_names(trained.config, "gradient_noise")
    own = {"collapse_fraction", "diagonal_covariance_gap", "training_seconds"}
    assert set(reasons) == (own | {"diagonal_covariance_gap_standard_error"}).union(names)
    assert metrics["marginal_likelihood"] == pytest.approx(_log_evidence(trained), rel=1e-4)
    assert "FullCovarianceGaussian posterior has no KL divergence" in reasons["collapse_fraction"]
    assert metrics["collapse_fraction"] is None


def test_the_lower_bound_meets_the_evidence(trained):
    """Mean of 20 x 2,000 draws; their spread is below 3 nats, 4 standard errors below 0.06."""
    trained.config.names = ("lower_bound",)
    trained.config.lower_bound.num_samples = 2000
    metrics, *_ = evaluation.measure(trained)
    assert metrics["lower_bound"] == pytest.approx(_log_evidence(trained), abs=0.06)


def test_the_data_scale_applies_to_every_image(trained):
    trained.config.names = ("iwae_bound",)
    metrics, *_ = evaluation.measure(dataclasses.replace(trained, data_scale=3.0))
    assert metrics["iwae_bound"] == pytest.approx(_log_evidence(trained, 3.0), rel=1e-4)


def test_precisions_of_gaussian_and_bernoulli_likelihoods(trained):
    linear = np.diag(PRIOR**-2) + WEIGHTS.T @ WEIGHTS / VARIANCE
    np.testing.assert_allclose(precisions(trained), np.tile(linear, (20, 1, 1)), rtol=1e-4)
    trained.config.names = ("constant_variance_penalty",)
    metrics, *_ = evaluation.measure(trained)
    assert metrics["constant_variance_gap"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["constant_variance_penalty"] == pytest.approx(0.0, abs=1e-6)

    bernoulli = dataclasses.replace(trained, likelihood=likelihoods.Bernoulli())
    codes = bernoulli.map_images(lambda params, x, key: bernoulli.encode(params, x).mean)
    p = 1 / (1 + np.exp(-codes.astype(float) @ WEIGHTS.T))
    # J' F J with J = diag(p (1 - p)) W and F = 1 / (p (1 - p)).
    expected = np.diag(PRIOR**-2) + np.einsum("ji,nj,jk->nik", WEIGHTS, p * (1 - p), WEIGHTS)
    np.testing.assert_allclose(precisions(bernoulli), expected, rtol=1e-4)
    metrics, *_ = evaluation.measure(bernoulli)
    mean = expected.mean(axis=0)
    ratios = np.linalg.solve(mean, expected)
    gap = 0.5 * (np.trace(ratios, axis1=1, axis2=2) - 2 - np.linalg.slogdet(ratios)[1])
    assert metrics["constant_variance_gap"] == pytest.approx(gap.mean(), rel=1e-3)
    excess = ratios - np.eye(2)
    penalty = 0.25 * np.trace(excess @ excess, axis1=1, axis2=2)
    assert metrics["constant_variance_penalty"] == pytest.approx(penalty.mean(), rel=1e-3)


def test_saturated_pixels_keep_the_precision_finite(trained):
    silent = {"params": {"weights": 1e4 * WEIGHTS}}
    bernoulli = dataclasses.replace(trained, likelihood=likelihoods.Bernoulli(), params=silent)
    assert np.isfinite(precisions(bernoulli)).all()


def test_a_floating_prior_takes_one_pass_over_the_codes(trained):
    codes = trained.map_images(lambda params, x, key: trained.encode(params, x).mean)
    found = evaluation.floating_prior_stddev(trained, 0.25)
    np.testing.assert_allclose(found, np.sqrt(0.25 + np.mean(codes**2, axis=0)), rtol=1e-6)


def test_a_deterministic_model_has_a_reconstruction_error_and_reasons(trained):
    point = dataclasses.replace(
        trained, model=Exact("point"), prior_stddev=None, no_bound="the loss is a squared error"
    )
    metrics, reasons, *_ = evaluation.measure(point)
    assert {name for name, value in metrics.items() if value is not None} == {
        "reconstruction_error"
    }
    assert reasons.keys() == metrics.keys() - {"reconstruction_error"}
    assert all(reasons.values())
    assert set(evaluation.reconstructions(point, 3)) == {"at the code"}
    assert set(evaluation.reconstructions(trained, 3)) == {"at the code", "at a sample"}


def test_prior_samples_and_manifold_spread_as_the_prior(trained):
    """Of the linear model: samples W z have covariance W S^2 W'; 20,000 of them, about 1%."""
    samples = evaluation.prior_samples(trained, 2, (100, 200))
    assert samples.shape == (100, 200, 2, 3)
    found = np.cov(samples.reshape(-1, 6).T)
    np.testing.assert_allclose(found, WEIGHTS * PRIOR**2 @ WEIGHTS.T, atol=0.25, rtol=0.1)
    grid = evaluation.manifold(trained, side=3)
    quantile = scipy.stats.norm.ppf(5 / 6)
    np.testing.assert_allclose(grid[1, 1], 0.0, atol=1e-5)
    corner = WEIGHTS @ (quantile * PRIOR)  # both latents largest: up and to the right
    np.testing.assert_allclose(grid[0, 2].ravel(), corner, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "prior", "bounded"),
    [("sampling", 1.0, True), ("wae_mmd", 1.0, False), ("rae", None, False)],
)
def test_each_objective_brings_its_prior(tiny_config, name, prior, bounded):
    config = tiny_config(**{"objective.name": name})
    state = TrainState(jnp.array(0), {"params": {"weights": WEIGHTS}}, ())
    trained = trained_model(config, Exact(), state, np.zeros((2, 2, 3), np.uint8))
    assert trained.prior_stddev == prior
    assert bool(trained.no_bound) != bounded


def test_a_floating_prior_is_fitted_to_the_training_images_and_kept(tiny_config, trained):
    changes = {"posterior.variance": 0.25, "evaluations.names": ("reconstruction",)}
    config = resolve(tiny_config(**{"objective.name": "bilbo", **changes}))
    state = TrainState(jnp.array(0), {"params": {"weights": WEIGHTS}}, ())
    other = np.zeros((3, 2, 3), np.uint8)
    floating = trained_model(config, Exact(), state, other, trained.images)
    expected = evaluation.floating_prior_stddev(trained, 0.25)
    np.testing.assert_allclose(floating.prior_stddev, expected, rtol=1e-6)
    fixed = resolve(tiny_config(**{"evaluations.names": ("reconstruction",)}))
    assert measure(floating)["prior_stddev"] == pytest.approx(list(expected))
    assert "prior_stddev" not in measure(trained_model(fixed, Exact(), state, other))
