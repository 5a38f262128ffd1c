"""Annealed bounds of many images: against closed forms, on both sides, however they are cut."""

import dataclasses
import io

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.inference_gaps import annealed_bounds
from sfvae_jax.evaluation.inference_gaps.annealed_bounds import forward_bounds, sandwich
from sfvae_jax.evaluation.inference_gaps.settings import Annealing
from sfvae_jax.evaluation.progress import Progress

WEIGHTS = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
VARIANCE, PRIOR = 1.5, np.array([1.5, 0.7], np.float32)


class Linear(nn.Module):
    """A linear model with a posterior that is far off, which annealing does not use."""

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        return posteriors.DiagonalGaussian(jnp.full(2, 50.0), jnp.ones(2))

    def decode(self, z):
        return (self.weights @ z).reshape(2, 3)


def _trained(**changes):
    settings = {
        "model": Linear(),
        "params": {"params": {"weights": WEIGHTS}},
        "images": np.random.default_rng(1).integers(0, 256, (3, 2, 3), np.uint8),
        "rng": jax.random.key(0),
        "config": base_config().evaluations,
        "likelihood": likelihoods.Gaussian(VARIANCE),
        "prior_stddev": PRIOR,
        "data_scale": 4.0,
    }
    return evaluation.TrainedModel(**{**settings, **changes})


def _log_evidence(x):
    covariance = WEIGHTS * PRIOR**2 @ WEIGHTS.T + VARIANCE * np.eye(6)
    return scipy.stats.multivariate_normal(np.zeros(6), covariance).logpdf(x.reshape(-1, 6))


SMALL = Annealing(
    num_chains=5, num_temperatures=8, num_leapfrog_steps=3, pilot_chains=3, chunk_size=5
)


def test_bounds_are_within_their_standard_errors_of_the_evidence():
    """The model sees stored pixels in [0, data_scale]."""
    trained = _trained()
    bounds = forward_bounds(trained, trained.images, dataclasses.replace(SMALL, num_chains=200))
    expected = _log_evidence(4.0 * trained.images / 255.0)
    assert (np.abs(bounds.bound - expected) < 4 * bounds.standard_error).all()
    assert (bounds.standard_error < 0.2).all()
    assert ((bounds.effective_sample_size > 20) & (bounds.effective_sample_size < 199)).all()
    assert bounds.step_size.shape == (3, 8)
    assert (bounds.least_acceptance_rate <= bounds.acceptance_rate).all()
    assert ((bounds.acceptance_rate > 0.3) & (bounds.acceptance_rate < 1)).all()


def test_the_sandwich_closes_on_the_evidence_of_simulated_data(monkeypatch):
    """On average over 200 images, within 4 standard errors; the width falls about as 1 / T."""
    seen = {}
    keep = annealed_bounds._simulate

    def simulate(*arguments):
        seen["z"], seen["x"] = keep(*arguments)
        return seen["z"], seen["x"]

    monkeypatch.setattr(annealed_bounds, "_simulate", simulate)
    widths = []
    for num_temperatures in (4, 32):
        size = {"num_temperatures": num_temperatures, "num_chains": 10, "chunk_size": 2000}
        lower, upper = sandwich(_trained(), 200, dataclasses.replace(SMALL, **size))
        exact = _log_evidence(np.asarray(seen["x"], float))
        for below in (lower.bound - exact, exact - upper.bound):
            assert below.mean() < 4 * below.std(ddof=1) / np.sqrt(200)
        np.testing.assert_array_equal(lower.step_size, upper.step_size)
        widths.append(upper.bound - lower.bound)
    assert 0 < widths[1].mean() < 0.4 * widths[0].mean()
    # What it starts from is what the data were drawn with.
    residual = seen["x"].reshape(200, 6) - seen["z"] @ WEIGHTS.T
    assert np.var(residual) == pytest.approx(VARIANCE, abs=4 * VARIANCE * np.sqrt(2 / 1200))
    assert (np.abs(seen["z"].std(axis=0) / PRIOR - 1) < 4 / np.sqrt(400)).all()


def test_chunks_change_nothing(float64):
    """In float64, since in float32 rounding flips an acceptance now and then."""
    params = {"params": {"weights": WEIGHTS.astype(float)}}
    trained = _trained(params=params, prior_stddev=PRIOR.astype(float))
    expected = sandwich(trained, 3, dataclasses.replace(SMALL, chunk_size=100))
    found = sandwich(trained, 3, dataclasses.replace(SMALL, chunk_size=4))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, expected
    )


def test_each_image_and_each_chain_has_its_own_noise():
    image = np.random.default_rng(1).integers(0, 256, (1, 2, 3), np.uint8)
    bounds = forward_bounds(_trained(), np.repeat(image, 3, axis=0), SMALL)
    assert len(set(bounds.bound)) == 3
    assert (bounds.effective_sample_size < SMALL.num_chains - 1e-6).all()
    again = forward_bounds(_trained(), image, SMALL)
    assert again.bound[0] == pytest.approx(bounds.bound[0], abs=1e-4)


def test_the_number_of_chains_does_not_change_the_step_sizes():
    trained = _trained()
    first = forward_bounds(trained, trained.images, SMALL)
    other = forward_bounds(trained, trained.images, dataclasses.replace(SMALL, num_chains=2))
    np.testing.assert_array_equal(first.step_size, other.step_size)
    assert (first.bound != other.bound).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"prior_stddev": None}, "without a prior"), ({"no_bound": "no density"}, "no density")],
)
def test_a_model_without_a_bound_gives_the_reason(changes, reason):
    trained = _trained(**changes)
    with pytest.raises(evaluation.NotApplicable, match=reason):
        forward_bounds(trained, trained.images, SMALL)
    with pytest.raises(evaluation.NotApplicable, match=reason):
        sandwich(trained, 3, SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_chains": 0}, "num_chains must be a whole number from 1 to .*, got 0"),
        ({"chunk_size": -1}, "chunk_size must be a whole number from 1"),
        ({"schedule": "linaer"}, "schedule: unknown schedule 'linaer'; did you mean 'linear'"),
        ({"target_acceptance": 1.0}, "target_acceptance must be a number in .0, 1., got 1.0"),
    ],
)
def test_invalid_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        Annealing(**changes)


def test_simulating_no_images_is_refused():
    with pytest.raises(UsageError, match="num_simulated must be 1 or more"):
        sandwich(_trained(), 0, SMALL)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_shows_how_much_is_done_and_the_time_left(monkeypatch, is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stderr", stream)
    with Progress("chains", 20) as progress:
        progress.update(5)
        progress.update(20)
    text = stream.getvalue()
    assert "chains" in text
    assert "20/20" in text
    assert "s left" in text
    assert ("\r" in text) == is_terminal


def test_stored_and_simulated_images_share_compiled_programs(compiled):
    """Three stored images, then two simulated ones: only the reverse chains are compiled anew."""
    trained, settings = _trained(), dataclasses.replace(SMALL, images_at_once=2, chunk_size=100)
    with compiled() as first:
        forward_bounds(trained, trained.images, settings)
    assert (_count(first, "pilot"), _count(first, "chain")) == (1, 1)
    with compiled() as second:
        sandwich(trained, 2, settings)
    assert (_count(second, "pilot"), _count(second, "chain")) == (0, 1)


def _count(names, word):
    return sum(word in name for name in names)
