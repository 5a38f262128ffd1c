"""Conditions of a stationary point for linear models, against SciPy and NumPy."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.evaluation.linearization.stationarity import EVALUATION

METRICS = tuple(measure.name for measure in EVALUATION.measures)
WEIGHTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
VARIANCE, PRIOR = 0.3, np.array([1.5, 0.7, 2.0])
PRECISION = np.diag(PRIOR**-2) + WEIGHTS.T.astype(float) @ WEIGHTS / VARIANCE
GAIN = np.linalg.solve(PRECISION, WEIGHTS.T.astype(float) / VARIANCE)  # of the exact mean
TRIL = np.array([[0.5, 0.0, 0.0], [0.2, 0.8, 0.0], [-0.1, 0.3, 0.4]])
IMAGES = np.random.default_rng(1).integers(0, 256, (5, 2, 3), np.uint8)
X = IMAGES.reshape(5, 6) / 255.0


class Model(nn.Module):
    """A linear decoder; the code is `gain` times the exact posterior mean, plus `offset`."""

    family: str = "diagonal"
    exact: bool = False
    gain: float = 1.0
    offset: float = 0.0

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        mean = self.gain * jnp.array(GAIN, jnp.float32) @ x.ravel() + self.offset
        if self.family == "point":
            return posteriors.Point(mean)
        if self.family == "full":
            tril = np.linalg.cholesky(np.linalg.inv(PRECISION)) if self.exact else TRIL
            return posteriors.FullCovarianceGaussian(mean, jnp.array(tril, jnp.float32))
        stddev = np.diag(PRECISION) ** -0.5 if self.exact else np.array([0.5, 0.8, 0.4])
        return posteriors.DiagonalGaussian(mean, jnp.array(stddev, jnp.float32))

    def decode(self, z):
        return (self.weights @ z).reshape(2, 3)


def _measure(model, **changes):
    config = base_config().evaluations
    config.names = ("stationarity",)
    trained = evaluation.TrainedModel(
        model=model,
        params={"params": {"weights": WEIGHTS}},
        images=IMAGES,
        rng=jax.random.key(0),
        config=config,
        likelihood=likelihoods.Gaussian(VARIANCE),
        prior_stddev=PRIOR,
    )
    found = evaluation.measure(dataclasses.replace(trained, **changes))
    assert set(found.metrics) == set(METRICS)
    return found


def _log_evidence():
    covariance = WEIGHTS.astype(float) * PRIOR**2 @ WEIGHTS.T + VARIANCE * np.eye(6)
    return scipy.stats.multivariate_normal(np.zeros(6), covariance).logpdf(X)


def test_the_exact_posterior_meets_all_conditions():
    metrics, reasons, *_ = _measure(Model("full", exact=True))
    evidence = _log_evidence()
    assert metrics["linearized_log_evidence"] == pytest.approx(evidence.mean(), rel=1e-5)
    error = evidence.std(ddof=1) / np.sqrt(5)
    assert metrics["linearized_log_evidence_standard_error"] == pytest.approx(error, rel=1e-4)
    for name in ("residual_distance", "posterior_mean_gap", "posterior_covariance_gap"):
        assert metrics[name] == pytest.approx(0.0, abs=1e-5)
    assert set(reasons) == {"diagonal_covariance_gap", "diagonal_covariance_gap_standard_error"}


def test_the_best_diagonal_posterior_only_lacks_the_correlations():
    metrics, *_ = _measure(Model(exact=True))
    assert metrics["diagonal_covariance_gap"] == pytest.approx(0.0, abs=1e-6)
    independent = np.sum(np.log(np.diag(PRECISION))) - np.linalg.slogdet(PRECISION)[1]
    assert metrics["posterior_covariance_gap"] == pytest.approx(0.5 * independent, rel=1e-5)


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_the_gaps_add_up_to_the_divergence_from_the_posterior(family):
    """Of a wrong mean and covariance; KL by the densities' own formula, around the exact mean."""
    metrics, *_ = _measure(Model(family, gain=0.6, offset=0.2))
    factor = TRIL if family == "full" else np.diag([0.5, 0.8, 0.4])
    exact = X @ GAIN.T
    missed = 0.6 * exact + 0.2 - exact
    covariance, posterior = factor @ factor.T, np.linalg.inv(PRECISION)
    log_dets = np.linalg.slogdet(posterior)[1] - np.linalg.slogdet(covariance)[1]
    of_covariance = 0.5 * (np.trace(PRECISION @ covariance) - 3 + log_dets)
    of_mean = 0.5 * np.einsum("ni,ij,nj->n", missed, PRECISION, missed)
    assert metrics["posterior_covariance_gap"] == pytest.approx(of_covariance, rel=1e-5)
    assert metrics["posterior_mean_gap"] == pytest.approx(of_mean.mean(), rel=1e-4)
    error = of_mean.std(ddof=1) / np.sqrt(5)
    assert metrics["posterior_mean_gap_standard_error"] == pytest.approx(error, rel=1e-4)
    # The tangent's log evidence at a code is least by what the code lacks.
    evidence = _log_evidence() - of_mean
    assert metrics["linearized_log_evidence"] == pytest.approx(evidence.mean(), rel=1e-5)
    codes, residuals = exact + missed, X - (exact + missed) @ WEIGHTS.T
    imaged = PRIOR**2 * (residuals @ WEIGHTS / VARIANCE)  # S^2 J' (x - f(mu)), BACK Eq. 11
    distances = np.square((codes - imaged) / PRIOR).sum(1), np.square(codes / PRIOR).sum(1)
    expected = distances[0].sum() / distances[1].sum()
    assert metrics["residual_distance"] == pytest.approx(expected, rel=1e-4)
    assert metrics["residual_distance_standard_error"] > 0.0


def test_other_likelihoods_use_their_score():
    """Bernoulli: g = W' (x - p)."""
    metrics, *_ = _measure(Model(offset=0.3), likelihood=likelihoods.Bernoulli())
    codes = X @ GAIN.T + 0.3
    score = (X - 1 / (1 + np.exp(-codes @ WEIGHTS.T))) @ WEIGHTS
    missed = np.square(codes / PRIOR - PRIOR * score).sum()
    expected = missed / np.square(codes / PRIOR).sum()
    assert metrics["residual_distance"] == pytest.approx(expected, rel=1e-4)


def test_a_point_has_no_covariance_and_a_model_without_a_bound_no_measures():
    metrics, reasons, *_ = _measure(Model("point"))
    assert metrics["posterior_mean_gap"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["linearized_log_evidence"] == pytest.approx(_log_evidence().mean(), rel=1e-5)
    assert "a point, which has no covariance" in reasons["posterior_covariance_gap"]
    metrics, reasons, *_ = _measure(Model("point"), no_bound="no density")
    assert reasons == dict.fromkeys(METRICS, "no density")
    metrics, reasons, *_ = _measure(Model(gain=0.0))
    assert reasons == dict.fromkeys(METRICS[:2], "all codes are 0")
