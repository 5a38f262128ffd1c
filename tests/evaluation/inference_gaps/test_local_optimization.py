"""The optimisation of each image's own posterior, on a linear model whose posterior is known."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import NotApplicable
from sfvae_jax.evaluation.bounds.marginal_likelihood import bounds_of
from sfvae_jax.evaluation.inference_gaps.local_optimization import (
    optimize_posteriors,
)
from sfvae_jax.evaluation.inference_gaps.settings import LocalOptimization

# Nearly the same column twice: latents with a correlation of -0.88 given x.
RNG = np.random.default_rng(1)
WEIGHTS = RNG.normal(size=(6, 1)) + 0.4 * RNG.normal(size=(6, 2))
WEIGHTS = WEIGHTS.astype(np.float32)
VARIANCE, PRIOR = 0.3, np.array([1.5, 0.7], np.float32)
PRECISION = np.diag(PRIOR**-2.0) + WEIGHTS.T.astype(float) @ WEIGHTS / VARIANCE
COVARIANCE = np.linalg.inv(PRECISION)
QUICK = LocalOptimization(
    num_samples=100, learning_rate=0.02, check_every=100, patience=5, max_steps=1000
)


class Model(nn.Module):
    """The linear model with a blind encoder; `traces` counts how often decode is traced."""

    traces: tuple = ()

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        return posteriors.DiagonalGaussian(jnp.zeros(2), jnp.array(PRIOR))

    def decode(self, z):
        for count in self.traces:
            count()
        return (self.weights @ z).reshape(2, 3)


@pytest.fixture
def trained():
    return evaluation.TrainedModel(
        model=Model(),
        params={"params": {"weights": WEIGHTS}},
        images=np.random.default_rng(1).integers(0, 256, (5, 2, 3), np.uint8),
        rng=jax.random.key(0),
        config=base_config().evaluations,
        likelihood=likelihoods.Gaussian(VARIANCE),
        prior_stddev=PRIOR,
        data_scale=2.0,
    )


def _pixels(trained):
    return 2.0 * trained.images.reshape(-1, 6) / 255.0


def _log_evidence(trained):
    covariance = WEIGHTS * PRIOR.astype(float) ** 2 @ WEIGHTS.T + VARIANCE * np.eye(6)
    return scipy.stats.multivariate_normal(np.zeros(6), covariance).logpdf(_pixels(trained))


def _exact_means(trained):
    return _pixels(trained) @ WEIGHTS.astype(float) / VARIANCE @ COVARIANCE


def _kl(mean, covariance, exact_mean):
    """Returns KL(N(mean, covariance) || the exact posterior), in float64."""
    off = mean - exact_mean
    ratio = PRECISION @ covariance
    return 0.5 * (off @ PRECISION @ off + np.trace(ratio) - 2 - np.linalg.slogdet(ratio)[1])


def test_full_covariance_closes_the_gap(trained):
    """At the optimum there is no noise, so the covariance is right to 3%."""
    settings = dataclasses.replace(QUICK, learning_rate=0.01, max_steps=2000)
    found = optimize_posteriors(trained, trained.images, "full_covariance", settings)
    factors = np.tril(found.posterior.scale_tril).astype(float)
    means, exact = found.posterior.mean.astype(float), _exact_means(trained)
    for mean, factor, exact_mean in zip(means, factors, exact, strict=True):
        covariance = factor @ factor.T
        assert _kl(mean, covariance, exact_mean) < 0.01
        np.testing.assert_allclose(covariance, COVARIANCE, rtol=0.03)
    np.testing.assert_allclose(found.elbo, _log_evidence(trained), atol=0.01)
    bounds = bounds_of(trained, trained.images, found.posterior, num_samples=1000, chunk_size=300)
    np.testing.assert_allclose(bounds.lower_bound, _log_evidence(trained), atol=0.01)


def test_the_best_factorised_posterior_is_found(trained):
    """It has precisions P_ii and lies 1/2 [sum log P_ii - log det P] below the evidence.

    Adam keeps a distance of a few percent from the optimum, where noise is left; the gap, which is
    of second order in that, is good to 0.01 nats.
    """
    many = dataclasses.replace(QUICK, learning_rate=0.005, num_samples=500, max_steps=2000)
    found = optimize_posteriors(trained, trained.images, "diagonal", many)
    diagonal = np.diag(PRECISION)
    gap = 0.5 * (np.log(diagonal).sum() - np.linalg.slogdet(PRECISION)[1])
    assert gap > 0.5
    stddevs = found.posterior.stddev.astype(float)
    np.testing.assert_allclose(stddevs**-2, np.tile(diagonal, (5, 1)), rtol=0.12)
    for mean, stddev, exact_mean in zip(
        found.posterior.mean, stddevs, _exact_means(trained), strict=True
    ):
        assert _kl(mean, np.diag(stddev**2), exact_mean) == pytest.approx(gap, abs=0.01)


def test_constant_keeps_its_stddev_and_finds_the_mean(trained):
    settings = dataclasses.replace(QUICK, constant_stddev=0.1)
    found = optimize_posteriors(trained, trained.images, "constant", settings)
    np.testing.assert_allclose(found.posterior.stddev, np.full((5, 2), 0.1), rtol=1e-6)
    np.testing.assert_allclose(found.posterior.mean, _exact_means(trained), atol=0.1)


def test_no_learning_rate_ends_below_the_gaussian_that_it_starts_from(trained):
    """Steps of 1,000 break every search, so that every image keeps its start."""
    factorised = posteriors.DiagonalGaussian(
        _exact_means(trained).astype(np.float32),
        np.tile(np.diag(PRECISION) ** -0.5, (5, 1)).astype(np.float32),
    )
    settings = dataclasses.replace(QUICK, learning_rate=1e3, check_every=10, patience=2)
    found = optimize_posteriors(trained, trained.images, "full_covariance", settings, factorised)
    np.testing.assert_array_equal(found.posterior.mean, factorised.mean)
    gap = 0.5 * (np.log(np.diag(PRECISION)).sum() - np.linalg.slogdet(PRECISION)[1])
    np.testing.assert_allclose(found.elbo, _log_evidence(trained) - gap, atol=0.2)


FLOW = dataclasses.replace(
    QUICK, num_samples=20, max_steps=2000, hidden_sizes=(8,), learning_rate=0.01
)
RATES = (1e-3, 3e-3, 3e-2)


def _flows(trained, images, rate):
    """Returns bounds of the best factorised Gaussians, of flows started there, and errors."""
    factorised = optimize_posteriors(trained, images, "diagonal", FLOW)
    settings = dataclasses.replace(FLOW, network_learning_rate=rate)
    flow = optimize_posteriors(trained, images, "auxiliary_flow", settings, factorised.posterior)
    assert np.isfinite(flow.elbo).all()
    sizes = {"num_samples": 4000, "chunk_size": 1000}
    found = [bounds_of(trained, images, local.posterior, **sizes) for local in (factorised, flow)]
    errors = np.hypot(*(bounds.lower_bound_standard_error for bounds in found))
    return *(bounds.lower_bound for bounds in found), errors


@pytest.mark.slow
def test_a_flow_reaches_a_correlated_gaussian(trained):
    """Its family contains the linear model's posterior, so that its bound is log p(x)."""
    images = trained.images[:2]
    evidence = _log_evidence(trained)[:2]
    factorised, flow, errors = _flows(trained, images, 1e-2)
    assert (evidence - factorised > 0.4).all()
    assert (flow > evidence - 0.05 - 3 * errors).all()
    assert (flow < evidence + 3 * errors).all()


class Banana(nn.Module):
    """x depends on z_0 and z_1 + z_0^2, so that the posterior has one or two bent ridges."""

    def setup(self):
        self.one = self.param("one", lambda _: jnp.ones(()))

    def encode(self, x):
        return posteriors.DiagonalGaussian(jnp.zeros(2), jnp.ones(2))

    def decode(self, z):
        return self.one * jnp.stack([0.3 * z[0], z[1] + jnp.square(z[0]) - 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
def test_a_flow_bends(trained, rate):
    """Its bound is above that of the best Gaussian, and below log p(x) by quadrature.

    At no learning rate does an image end below its best factorised Gaussian; 1e-3 is too slow for
    500 steps without a better bound to tell that there is one.
    """
    x = np.array([[0.0, 0.0], [0.2, 1.0]], np.float32)
    changes = {"model": Banana(), "params": {"params": {"one": np.ones((), np.float32)}}}
    changes |= {"images": x, "likelihood": likelihoods.Gaussian(0.1), "prior_stddev": 1.0}
    bent = dataclasses.replace(trained, data_scale=1.0, **changes)
    factorised, flow, errors = _flows(bent, x, rate)
    grid = np.linspace(-6.0, 6.0, 1201)
    z_0, z_1 = np.meshgrid(grid, grid, indexing="ij")
    for image, one, other, error in zip(x.astype(float), factorised, flow, errors, strict=True):
        terms = ((z_0, 0, 1), (z_1, 0, 1), (image[0], 0.3 * z_0, 0.1**0.5))
        terms = (*terms, (image[1], z_1 + z_0**2 - 1.0, 0.1**0.5))
        density = sum(scipy.stats.norm(mean, stddev).logpdf(at) for at, mean, stddev in terms)
        evidence = scipy.special.logsumexp(density) + 2 * np.log(grid[1] - grid[0])
        assert other < evidence + 3 * error
        assert other > one - 2 * error
    if rate == 1e-3:
        return
    full = optimize_posteriors(bent, x, "full_covariance", FLOW)
    gaussian = bounds_of(bent, x, full.posterior, num_samples=4000, chunk_size=1000).lower_bound
    assert (flow - gaussian > 0.1).all()


SHORT = LocalOptimization(num_samples=4, learning_rate=0.1, check_every=5, patience=1, max_steps=60)


@pytest.mark.slow
def test_the_chunk_size_changes_nothing(trained):
    """Of 5 images in chunks of 2 the last chunk is padded; images stop after different steps."""
    whole = optimize_posteriors(trained, trained.images, "diagonal", SHORT)
    assert len(set(whole.steps.tolist())) > 1
    assert whole.converged.any()
    settings = dataclasses.replace(SHORT, chunk_size=2)
    parts = optimize_posteriors(trained, trained.images, "diagonal", settings)
    np.testing.assert_array_equal(parts.steps, whole.steps)
    np.testing.assert_array_equal(parts.converged, whole.converged)
    np.testing.assert_allclose(parts.elbo, whole.elbo, rtol=1e-4)
    np.testing.assert_allclose(parts.posterior.mean, whole.posterior.mean, atol=1e-3)
    np.testing.assert_allclose(parts.posterior.stddev, whole.posterior.stddev, rtol=1e-3)


def test_nothing_is_compiled_for_another_chunk(trained):
    """Six images in three chunks trace the decoder as often as two in one chunk."""
    counts = []
    settings = dataclasses.replace(SHORT, chunk_size=2, patience=100, max_steps=10)
    for images in (trained.images[:2], np.concatenate([trained.images, trained.images[:1]])):
        traces = []
        model = Model(traces=(lambda traces=traces: traces.append(1),))
        counted = dataclasses.replace(trained, model=model)
        optimize_posteriors(counted, images, "diagonal", settings)
        counts.append(len(traces))
    assert counts[0] == counts[1] > 0


def test_max_steps_are_rounded_down_and_progress_ends_at_1(trained):
    done = []
    settings = dataclasses.replace(SHORT, chunk_size=3, patience=100, max_steps=14)
    found = optimize_posteriors(trained, trained.images, "diagonal", settings, progress=done.append)
    assert found.steps.tolist() == [10] * 5  # whole checks of 5
    assert not found.converged.any()
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_a_broken_image_stops_alone(trained):
    """The third image starts where squares overflow float32 and finds nothing; others go on."""
    stddev = np.tile(PRIOR, (5, 1))
    stddev[2] = 1e25
    start = posteriors.DiagonalGaussian(np.zeros((5, 2), np.float32), stddev)
    settings = dataclasses.replace(SHORT, patience=100, max_steps=20)
    found = optimize_posteriors(trained, trained.images, "diagonal", settings, start)
    assert found.steps.tolist() == [20] * 5
    assert not found.converged.any()
    assert np.isneginf(found.elbo[2])
    np.testing.assert_allclose(found.posterior.stddev[2], stddev[2], rtol=1e-3)
    assert np.isfinite(np.delete(found.elbo, 2)).all()


def test_the_search_begins_at_its_start(trained):
    """From the exact posterior nothing improves; from the prior these steps are too few."""
    exact = posteriors.FullCovarianceGaussian(
        _exact_means(trained).astype(np.float32),
        np.tile(np.linalg.cholesky(COVARIANCE).astype(np.float32), (5, 1, 1)),
    )
    settings = dataclasses.replace(SHORT, learning_rate=1e-3, max_steps=5)
    near = optimize_posteriors(trained, trained.images, "full_covariance", settings, exact)
    far = optimize_posteriors(trained, trained.images, "full_covariance", settings)
    np.testing.assert_allclose(near.elbo, _log_evidence(trained), atol=0.01)
    assert (far.elbo < _log_evidence(trained) - 1).all()


def test_invalid_arguments_are_refused(trained):
    def refused(*arguments, error=UsageError, **changes):
        model = dataclasses.replace(trained, **changes)
        with pytest.raises(error) as found:
            optimize_posteriors(model, *arguments)
        return str(found.value)

    images = trained.images
    start = posteriors.DiagonalGaussian(np.zeros((4, 2)), np.ones((4, 2)))
    assert "did you mean 'diagonal'" in refused(images, "diagonl")
    assert "at least one" in refused(images[:0], "diagonal")
    full = posteriors.FullCovarianceGaussian(np.zeros((5, 2)), np.ones((5, 2, 2)))
    told = refused(images, "planar", SHORT, full)
    assert "must be a PlanarFlow or a DiagonalGaussian, got a FullCovariance" in told
    assert "each of the 5 images, got 4" in refused(images, "diagonal", SHORT, start)
    assert "no density" in refused(images, "diagonal", error=NotApplicable, no_bound="no density")
    assert "prior" in refused(images, "diagonal", error=NotApplicable, prior_stddev=None)
    with pytest.raises(ValueError, match="num_samples must be a whole number from 1 to"):
        LocalOptimization(num_samples=0)
    with pytest.raises(ValueError, match="at least check_every"):
        LocalOptimization(max_steps=99)
