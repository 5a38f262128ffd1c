"""Importance sampling against closed forms and quadrature; its errors against their spread."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.evaluation import importance_log_evidence
from sfvae_jax.evaluation.bounds.marginal_likelihood import LEAST_BIAS, _caveat
from sfvae_jax.evaluation.inference_gaps.annealing import log_mean_weight

WEIGHTS = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
VARIANCE, PRIOR = 0.3, np.array([1.5, 0.7], np.float32)
COVARIANCE = np.linalg.inv(np.diag(PRIOR**-2.0) + WEIGHTS.T @ WEIGHTS / VARIANCE)


def _linear(z):
    return jnp.array(WEIGHTS) @ z


def _exact_mean(x):
    return jnp.array(COVARIANCE @ WEIGHTS.T / VARIANCE, jnp.float32) @ x


def _log_evidence(x):
    covariance = WEIGHTS * PRIOR**2 @ WEIGHTS.T + VARIANCE * np.eye(6)
    return scipy.stats.multivariate_normal(np.zeros(6), covariance).logpdf(x)


def _estimate(rng, x, posterior, num_samples, chunk_size=100):
    return importance_log_evidence(
        rng,
        _linear,
        x,
        posterior,
        likelihoods.Gaussian(VARIANCE),
        num_samples=num_samples,
        chunk_size=chunk_size,
        prior_stddev=jnp.array(PRIOR),
    )


def _mean_field(x):
    """The exact mean, with deviations that leave out the correlation."""
    return posteriors.DiagonalGaussian(
        _exact_mean(x), jnp.sqrt(jnp.array(np.diag(COVARIANCE), jnp.float32))
    )


def test_a_linear_model_within_its_own_standard_errors(keys):
    x = jax.random.normal(next(keys), (10, 6))
    estimate = jax.jit(jax.vmap(lambda key, x: _estimate(key, x, _mean_field(x), 20_000)))
    value, effective, error = estimate(jax.random.split(next(keys), 10), x)
    distance = np.abs(value - _log_evidence(np.asarray(x, float)))
    assert (distance < 4 * error + 1e-4).all()  # 1e-4: float32 sums of terms near 30
    assert (error > 1e-4).all()
    assert ((effective > 1) & (effective < 20_000)).all()


def test_estimate_error_and_effective_sample_size_match_the_weights(keys):
    """All weights at once by SciPy, in float64; 23 samples do not fill the last chunk of 5."""
    rng, x = next(keys), jax.random.normal(next(keys), (6,))
    posterior = _mean_field(x)
    indices = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(23))
    z, _ = jax.vmap(posterior.sample_and_log_prob)(indices)
    z, x64 = np.asarray(z, float), np.asarray(x, float)
    norm = scipy.stats.norm
    weights = np.exp(
        norm(z @ WEIGHTS.T, VARIANCE**0.5).logpdf(x64).sum(axis=1)
        + norm(0, PRIOR).logpdf(z).sum(axis=1)
        - norm(posterior.mean, posterior.stddev).logpdf(z).sum(axis=1)
    )
    value, effective, error = _estimate(rng, x, posterior, 23, chunk_size=5)
    assert value == pytest.approx(np.log(weights.mean()), rel=1e-5)
    assert effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-4)
    assert error == pytest.approx(weights.std(ddof=1) / weights.mean() / np.sqrt(23), rel=1e-4)


@pytest.mark.parametrize("chunk_size", [1, 7, 64, 1000])
def test_the_chunk_size_only_changes_the_rounding(keys, chunk_size):
    rng, x = next(keys), jax.random.normal(next(keys), (6,))
    expected = _estimate(rng, x, _mean_field(x), 50, chunk_size=50)
    found = _estimate(rng, x, _mean_field(x), 50, chunk_size=chunk_size)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_the_standard_error_is_the_spread_of_repetitions(keys):
    """Of 1,000 repetitions; their deviation is known to 1 / sqrt(2,000) = 2.2% of itself."""
    x = jax.random.normal(next(keys), (6,))
    repeat = jax.jit(jax.vmap(lambda key: _estimate(key, x, _mean_field(x), 400)))
    values, _, errors = repeat(jax.random.split(next(keys), 1000))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(float(np.std(values)), rel=0.1)


def test_the_exact_posterior_has_equal_weights(keys):
    x = jax.random.normal(next(keys), (6,))
    factor = jnp.array(np.linalg.cholesky(COVARIANCE), jnp.float32)
    exact = posteriors.FullCovarianceGaussian(_exact_mean(x), factor)
    value, effective, error = _estimate(next(keys), x, exact, 1000)
    assert value == pytest.approx(_log_evidence(np.asarray(x, float)), abs=1e-4)
    assert effective == pytest.approx(1000, rel=1e-4)
    assert error < 1e-4


# p(z) = N(0, 1), p(x|z) = N(x; z^2, 0.5), x = 4: the posterior has a mode near 2 and one near -2.
@functools.cache
def _two_modes(mean, stddev, num_samples=20_000):
    posterior = posteriors.DiagonalGaussian(jnp.array([mean]), jnp.array([stddev]))
    return importance_log_evidence(
        jax.random.key(5),
        jnp.square,
        jnp.array([4.0]),
        posterior,
        likelihoods.Gaussian(0.5),
        num_samples=num_samples,
        chunk_size=1000,
    )


def _two_modes_by_quadrature():
    def joint(z):
        return scipy.stats.norm(z**2, 0.5**0.5).pdf(4.0) * scipy.stats.norm.pdf(z)

    return np.log(scipy.integrate.quad(joint, -8, 8, points=[-2, 2])[0])


def test_a_posterior_over_both_modes_finds_the_evidence():
    value, effective, error = _two_modes(0.0, 2.0)
    assert abs(value - _two_modes_by_quadrature()) < 4 * error
    assert error < 0.02
    assert effective > 2000


@pytest.mark.parametrize(
    ("mean", "stddev", "share", "fault"),
    [(2.0, 1.0, 0.25, "hardly reaches the other mode"), (2.0, 0.05, 0.01, "narrower than a mode")],
)
def test_a_wrong_posterior_shows_in_error_and_effective_sample_size(mean, stddev, share, fault):
    _, effective_of_good, error_of_good = _two_modes(0.0, 2.0)
    _, effective, error = _two_modes(mean, stddev)
    assert effective < share * effective_of_good, fault
    assert error > share**-0.5 * error_of_good, fault


def test_neither_measure_shows_a_mode_without_samples():
    """As the docstring warns: half of the evidence is missing, and the error does not show it."""
    value, effective, error = _two_modes(2.0, 0.25)
    assert value - _two_modes_by_quadrature() == pytest.approx(-np.log(2), abs=0.02)
    assert error < 0.02
    assert effective > 2000


def test_memory_does_not_grow_with_the_samples(keys):
    x = jax.random.normal(next(keys), (6,))

    def compiled(num_samples):
        run = jax.jit(lambda key: _estimate(key, x, _mean_field(x), num_samples, 500))
        return run.lower(jax.random.key(0)).compile()

    small, large = compiled(1000), compiled(50_000)
    temporary = [c.memory_analysis().temp_size_in_bytes for c in (small, large)]
    assert temporary[1] <= temporary[0] + 1024
    assert temporary[1] < 500 * 6 * 4 * 20  # a few arrays of one chunk
    value, _, error = large(next(keys))
    assert abs(value - _log_evidence(np.asarray(x, float))) < 4 * error + 1e-4


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(keys, sizes):
    with pytest.raises(ValueError, match="at least 1"):
        _estimate(next(keys), jnp.zeros(6), _mean_field(jnp.zeros(6)), *sizes)


class Model(nn.Module):
    """The linear model with a mean-field posterior, or a deterministic code."""

    code: bool = False

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        posterior = _mean_field(x.ravel())
        return posteriors.Point(posterior.mean) if self.code else posterior

    def decode(self, z):
        return (self.weights @ z).reshape(2, 3)


def _trained(model=None, likelihood=None, **changes):
    config = base_config().evaluations
    config.names = ("marginal_likelihood",)
    config.marginal_likelihood.num_samples = 2000
    config.marginal_likelihood.update(changes)
    return evaluation.TrainedModel(
        model=model or Model(),
        params={"params": {"weights": WEIGHTS}},
        images=np.random.default_rng(1).integers(0, 256, (20, 2, 3), np.uint8),
        rng=jax.random.key(0),
        config=config,
        likelihood=likelihood or likelihoods.Gaussian(VARIANCE),
        prior_stddev=PRIOR,
    )


def test_measures_of_a_model():
    trained = _trained()
    metrics, reasons, *_ = evaluation.measure(trained)
    assert set(metrics) == set(evaluation.metric_names(trained.config, "marginal_likelihood"))
    assert not reasons
    expected = _log_evidence(trained.images.reshape(20, 6) / 255.0)
    noise = metrics["marginal_likelihood_monte_carlo_error"]
    assert abs(metrics["marginal_likelihood"] - expected.mean()) < 4 * noise
    assert 0 < noise < 0.05
    constant = 3 * np.log(2 * np.pi * VARIANCE)
    assert metrics["marginal_likelihood_without_constant"] == pytest.approx(
        metrics["marginal_likelihood"] + constant, abs=1e-5
    )
    spread = expected.std(ddof=1) / np.sqrt(20)
    assert metrics["marginal_likelihood_standard_error"] == pytest.approx(spread, rel=0.05)
    assert 1 <= metrics["least_effective_sample_size"] < metrics["effective_sample_size"] < 2000


def test_an_estimate_that_is_too_low_has_a_caveat():
    _, _, caveats, *_ = evaluation.measure(_trained())
    assert not caveats
    _, _, caveats, *_ = evaluation.measure(_trained(num_samples=2))
    assert set(caveats) == {"marginal_likelihood", "marginal_likelihood_without_constant"}
    assert all("of 2), so it is too low, by 0." in text for text in caveats.values())


@pytest.mark.parametrize(("spreads", "is_low"), [((0.5, 1.0), False), ((2.0, 8.0), True)])
def test_a_few_easy_examples_do_not_hide_the_others(spreads, is_low):
    """Log weights N(-s^2/2, s^2), so that log p(x) = 0, with another s for each of 60 examples."""
    rng, num_samples = np.random.default_rng(0), 50_000
    s = rng.uniform(*spreads, 60)
    log_weights = s[:, None] * rng.normal(size=(60, num_samples)) - 0.5 * s[:, None] ** 2
    values, effective, errors = log_mean_weight(log_weights)
    bias = 0.5 * np.mean(errors**2)
    assert (bias > LEAST_BIAS) == is_low
    assert np.mean(effective) > 20  # the easy ones alone
    if is_low:
        assert np.mean(values) < -bias < -LEAST_BIAS
        caveat = _caveat(errors, effective, num_samples)
        assert f"at most {np.median(effective):.1f} of 50000), so it is too low, by" in caveat
    else:
        assert _caveat(errors, effective, num_samples) == ""


def test_one_sample_has_no_error():
    metrics, reasons, caveats, *_ = evaluation.measure(_trained(num_samples=1))
    assert reasons == {
        "marginal_likelihood_monte_carlo_error": "a single sample has no standard error"
    }
    assert metrics["effective_sample_size"] == 1.0
    assert not caveats


def test_num_images_and_a_single_image():
    first = evaluation.measure(_trained(num_images=5))[0]
    expected = _log_evidence(_trained().images[:5].reshape(5, 6) / 255.0).mean()
    assert first["marginal_likelihood"] == pytest.approx(expected, abs=0.1)
    _, reasons, *_ = evaluation.measure(_trained(num_images=1))
    assert reasons == {
        "marginal_likelihood_standard_error": "a single example has no standard error"
    }


def test_a_model_without_a_marginal_likelihood_says_why():
    _, reasons, *_ = evaluation.measure(_trained(likelihood=likelihoods.Bernoulli(), num_images=2))
    assert set(reasons) == {"marginal_likelihood_without_constant"}
    metrics, reasons, *_ = evaluation.measure(_trained(Model(code=True)))
    assert set(metrics.values()) == {None}
    assert set(reasons.values()) == {"a Point posterior has no samples"}
