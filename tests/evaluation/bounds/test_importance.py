"""ELBO and IWAE bound of the same samples, against NumPy, and with a given posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from test_marginal_likelihood import COVARIANCE, VARIANCE, WEIGHTS, _log_evidence, _trained

from sfvae_jax import posteriors
from sfvae_jax.evaluation import NotApplicable
from sfvae_jax.evaluation.bounds.importance import importance_statistics
from sfvae_jax.evaluation.bounds.marginal_likelihood import bounds_of


class Weights:
    """A posterior and likelihood in one: sample k has a given log weight."""

    def __init__(self, values):
        self.values = jnp.array(values)

    def sample_and_log_prob(self, rng):
        z = jax.random.normal(rng, (1,))
        return z, -0.5 * (jnp.log(2 * jnp.pi) + z[0] ** 2)  # cancels the prior

    def log_prob(self, x, parameters):
        """Sample k of `fold_in(rng, k)` is the k-th smallest: each has one value."""
        drawn = jnp.argmin(jnp.abs(self.noise - parameters[0]))
        return self.values[drawn]

    def statistics(self, chunk_size):
        rng, count = jax.random.key(0), len(self.values)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(count))
        self.noise = jax.vmap(self.sample_and_log_prob)(keys)[0][:, 0]
        assert len(np.unique(self.noise)) == count
        return jax.jit(
            lambda rng: importance_statistics(
                rng,
                lambda z: z,
                jnp.zeros(1),
                self,
                self,
                num_samples=count,
                chunk_size=chunk_size,
            )
        )(rng)


@pytest.mark.parametrize("chunk_size", [7, 100])
def test_both_bounds_and_errors_match_the_weights(chunk_size):
    """Near -15,000 in float32 against float64; 23 samples do not fill the last chunk of 7."""
    values = -15_000 + 3 * np.random.default_rng(0).normal(size=23)
    found = Weights(values).statistics(chunk_size)
    exact = np.asarray(values, np.float32).astype(float)
    weights = np.exp(exact - exact.max())
    # The prior and q cancel but for 0.001, the step of float32 there.
    close = {"abs": 0.002}
    assert float(found.lower_bound) == pytest.approx(exact.mean(), **close)
    log_mean = scipy.special.logsumexp(exact) - np.log(23)
    assert float(found.log_evidence) == pytest.approx(log_mean, **close)
    error = exact.std(ddof=1) / np.sqrt(23)
    assert float(found.lower_bound_standard_error) == pytest.approx(error, rel=1e-3)
    effective = weights.sum() ** 2 / (weights**2).sum()
    assert float(found.effective_sample_size) == pytest.approx(effective, rel=1e-2)
    spread = np.sqrt((1 / effective - 1 / 23) * 23 / 22)
    assert float(found.standard_error) == pytest.approx(spread, rel=1e-2)


def test_the_first_weight_may_be_far_from_the_others():
    values = np.concatenate([[-40_000.0], -15_000 + np.random.default_rng(1).normal(size=30)])
    found = Weights(values).statistics(8)
    exact = values.astype(np.float32).astype(float)
    assert float(found.lower_bound) == pytest.approx(exact.mean(), rel=1e-6)
    error = exact.std(ddof=1) / np.sqrt(31)
    assert float(found.lower_bound_standard_error) == pytest.approx(error, rel=1e-4)


def test_the_error_of_a_single_sample_is_nan():
    found = Weights([-3.0]).statistics(5)
    assert float(found.lower_bound) == pytest.approx(-3.0, abs=1e-5)
    assert float(found.log_evidence) == pytest.approx(-3.0, abs=1e-5)
    assert np.isnan(found.lower_bound_standard_error)


def _gap():
    """KL(mean field || exact posterior): 1/2 [sum_i P_ii s_i^2 - m - log det(P S^2)]."""
    precision, variances = np.linalg.inv(COVARIANCE), np.diag(COVARIANCE)
    log_det = np.linalg.slogdet(precision)[1] + np.log(variances).sum()
    return 0.5 * (np.diag(precision) @ variances - 2 - log_det)


def test_bounds_with_the_models_own_posterior_and_with_another():
    """Within 4.5 standard errors for each of 20 images, which are 40 comparisons in all."""
    trained = _trained()
    x = trained.images.reshape(20, 6) / 255.0
    evidence = _log_evidence(x)
    own = bounds_of(trained, trained.images, num_samples=2000, chunk_size=300)
    assert own.lower_bound.shape == (20,)
    distance = np.abs(own.lower_bound - (evidence - _gap()))
    assert (distance < 4.5 * own.lower_bound_standard_error + 1e-4).all()
    assert (np.abs(own.log_evidence - evidence) < 4.5 * own.standard_error + 1e-4).all()
    means = (x @ WEIGHTS / VARIANCE @ COVARIANCE).astype(np.float32)
    factor = np.linalg.cholesky(COVARIANCE).astype(np.float32)
    exact = posteriors.FullCovarianceGaussian(means, np.tile(factor, (20, 1, 1)))
    best = bounds_of(trained, trained.images, exact, num_samples=20, chunk_size=20)
    np.testing.assert_allclose(best.lower_bound, evidence, atol=1e-4)
    np.testing.assert_allclose(best.lower_bound_standard_error, np.zeros(20), atol=1e-4)


def test_further_arrays_are_mapped_with_their_example():
    trained = _trained()
    extra = {"number": np.arange(20), "pair": np.arange(40.0).reshape(20, 2)}

    def function(params, x, key, extra, more):
        return jnp.sum(x), extra["number"] + more, extra["pair"][1]

    found = trained.map_images(function, None, extra, 100 * np.arange(20), batch_size=7)
    np.testing.assert_allclose(found[0], trained.images.reshape(20, 6).sum(1) / 255, rtol=1e-5)
    np.testing.assert_array_equal(found[1], 101 * np.arange(20))
    np.testing.assert_array_equal(found[2], 2.0 * np.arange(20) + 1)
    with pytest.raises(ValueError, match="expected 20 entries"):
        trained.map_images(function, None, extra, np.arange(21))


def test_a_model_without_bounds_says_so():
    trained = _trained()
    points = posteriors.Point(np.zeros((20, 2), np.float32))
    with pytest.raises(NotApplicable, match="Point posterior has no samples"):
        bounds_of(trained, trained.images, points, num_samples=2, chunk_size=2)
    with pytest.raises(ValueError, match="at least 1"):
        bounds_of(trained, trained.images, num_samples=0, chunk_size=2)
