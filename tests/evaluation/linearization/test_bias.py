"""The sampling-free ELBO beside the unbiased one, on a model where both are known."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.linearization import bias
from sfvae_jax.evaluation.linearization.bias import curve, gamma_regions
from sfvae_jax.measuring.trained import trained_model
from sfvae_jax.train import train
from sfvae_jax.training.state import TrainState

WEIGHTS = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
STDDEV, VARIANCE, PRIOR = np.array([0.5, 0.8]), 0.3, np.array([1.5, 0.7])


class Linear(nn.Module):
    """Encodes the first two pixels; decodes by `weights`."""

    family: str = "diagonal"

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        mean, stddev = x.ravel()[:2], jnp.array(STDDEV, jnp.float32)
        if self.family == "full_covariance":
            return posteriors.FullCovarianceGaussian(mean, jnp.diag(stddev))
        if self.family == "planar":
            return posteriors.PlanarFlow(mean, stddev, jnp.ones((1, 2)), mean[None], mean[:1])
        return posteriors.DiagonalGaussian(mean, stddev)

    def decode(self, z):
        return (self.weights @ z).reshape(2, 3)


def _trained(model=None, likelihood=None, gamma=1.0, **changes):
    config = base_config().evaluations
    config.names = ("bias",)
    config.bias.num_samples = 4000
    settings = {
        "model": model or Linear(),
        "params": {"params": {"weights": WEIGHTS}},
        "images": np.random.default_rng(1).integers(0, 256, (20, 2, 3), np.uint8),
        "rng": jax.random.key(0),
        "config": config,
        "likelihood": likelihood or likelihoods.Gaussian(VARIANCE),
        "prior_stddev": PRIOR,
        "gamma": gamma,
    }
    return evaluation.TrainedModel(**{**settings, **changes})


def _by_hand(images):
    """(sampling-free at gamma 1, its quadratic correction, exact ELBO) of every image."""
    x = images.reshape(-1, 6) / 255.0
    mean, factor = x[:, :2], WEIGHTS * STDDEV
    residual = x - mean @ WEIGHTS.T
    kl = scipy.stats.norm.entropy(scale=PRIOR).sum() - scipy.stats.norm.entropy(scale=STDDEV).sum()
    kl = kl + 0.5 * np.sum((mean**2 + STDDEV**2) / PRIOR**2 - 1, axis=1)
    covariance = factor @ factor.T + VARIANCE * np.eye(6)
    pushed = scipy.stats.multivariate_normal(np.zeros(6), covariance).logpdf(residual)
    whitened = np.einsum("ni,ij,nj->n", residual, np.linalg.inv(covariance), residual)
    correction = 0.5 * (np.sum(residual**2, axis=1) / VARIANCE - whitened)
    point = scipy.stats.norm(0, VARIANCE**0.5).logpdf(residual).sum(axis=1)
    return pushed - kl, correction, point - np.sum(factor**2) / (2 * VARIANCE) - kl


@pytest.mark.parametrize(("gamma", "weight"), [(1.0, 1.0), (0.5, 1.0), (0.5, 0.25)])
def test_both_elbos_of_a_linear_model(gamma, weight):
    """The sampled one within 4 standard errors over the images of its distance to the exact one."""
    trained = _trained(gamma=gamma, log_det_weight=weight)
    free, correction, exact = _by_hand(trained.images)
    found, sampled = bias.elbos(trained, 4000)
    factor = WEIGHTS * STDDEV
    log_det = np.linalg.slogdet(np.eye(2) + factor.T @ factor / VARIANCE)[1]
    free = free - (1 - gamma) * correction + 0.5 * (1 - weight) * log_det
    np.testing.assert_allclose(found, free, rtol=1e-5)
    distance = sampled - exact
    assert abs(distance.mean()) < 4 * distance.std(ddof=1) / np.sqrt(20) < 0.2
    metrics, *_ = evaluation.measure(trained)
    assert list(metrics) == [measure.name for measure in bias.EVALUATION.measures]
    assert metrics["gamma"] == gamma
    assert metrics["sampling_free_elbo"] == pytest.approx(free.mean(), rel=1e-5)
    gap = metrics["sampling_free_elbo"] - metrics["sampling_elbo"]
    assert metrics["elbo_gap"] == pytest.approx(gap, abs=1e-5)
    expected = (found - sampled).std(ddof=1) / np.sqrt(20)
    assert metrics["elbo_gap_standard_error"] == pytest.approx(expected, rel=1e-3)
    expected = sampled.std(ddof=1) / np.sqrt(20)
    assert metrics["sampling_elbo_standard_error"] == pytest.approx(expected, rel=1e-3)


def test_a_posterior_with_a_covariance_has_a_bias_too():
    """With a diagonal factor its sampling-free ELBO is that of the diagonal posterior."""
    found, _ = bias.elbos(_trained(Linear("full_covariance")), 1)
    expected, _, _ = _by_hand(_trained().images)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": Linear("planar")}, "a PlanarFlow posterior is not a Gaussian"),
        ({"likelihood": likelihoods.Bernoulli()}, "the likelihood is not a Gaussian with fixed"),
        ({"prior_stddev": None}, "the model was trained without a prior"),
        ({"no_bound": "no density"}, "no density"),
    ],
)
def test_a_model_without_the_measures_of_bias_says_why(changes, reason):
    metrics, reasons, *_ = evaluation.measure(_trained(**changes))
    assert set(metrics) == {measure.name for measure in bias.EVALUATION.measures}
    assert set(metrics.values()) == {None}
    assert all(text.startswith(reason) for text in reasons.values())


def test_gamma_is_the_one_of_the_last_step(tiny_config):
    config = tiny_config(
        **{
            "objective.name": "sampling_free",
            "objective.gamma_schedule": "piecewise",
            "objective.gamma_values": (0.9, 0.6),
            "objective.gamma_boundaries": (6,),
        }
    )

    def gamma(step):
        state = TrainState(jnp.array(step), {"params": {"weights": WEIGHTS}}, ())
        return trained_model(config, Linear(), state, np.zeros((2, 2, 3), np.uint8)).gamma

    assert [gamma(step) for step in (0, 5, 6, 7)] == pytest.approx([0.9, 0.9, 0.9, 0.6])


@pytest.mark.slow  # other measures have a history by default
def test_a_run_keeps_both_over_its_steps(tiny_config, tmp_path):
    config = tiny_config(
        **{
            "objective.name": "sampling_free",
            "objective.gamma_schedule": "piecewise",
            "objective.gamma_values": (0.9, 0.6),
            "train.steps": 6,
            "train.log_every": 1,
            "evaluations.steps": (3, 4),
            "evaluations.names": ("bias",),
        }
    )
    train(config, tmp_path)
    history = json.loads((tmp_path / "results.json").read_text())["history"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = {str(line["step"]): line["gamma"] for line in lines}
    assert {step: m["gamma"] for step, m in history.items()} == pytest.approx(
        {step: logged[step] for step in ("3", "4")}
    )
    assert history["3"]["gamma"] != history["4"]["gamma"]
    assert gamma_regions(curve({"history": history})) == [(0.9, 0, 3), (0.6, 3, 4)]


def _results(gammas):
    history = {
        str(10 * (i + 1)): {"gamma": g, "sampling_free_elbo": i - 1.0, "sampling_elbo": i - 2.0}
        for i, g in enumerate(gammas)
    }
    return {"history": history, "step": 10 * len(gammas), "metrics": history[str(10 * len(gammas))]}


def test_regions_of_gamma_reach_from_boundary_to_boundary():
    points = curve(_results([0.9, 0.9, 0.8, 0.5, 0.5]))
    assert [step for step, _ in points] == [10, 20, 30, 40, 50]
    assert gamma_regions(points) == [(0.9, 0, 20), (0.8, 20, 30), (0.5, 30, 50)]
    assert curve({"history": {}, "step": 5, "metrics": {"sampling_free_elbo": None}}) == []


@pytest.mark.parametrize(("gammas", "regions"), [([0.9, 0.5, 0.5], 2), ([0.9], None)])
def test_the_picture_shows_both_over_the_steps(tmp_path, monkeypatch, gammas, regions):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append((figure, path.name)))
    draw = evaluation.EVALUATIONS["bias"].draw
    draw(None, None, _results(gammas), "title", tmp_path)
    if regions is None:  # one point makes no curve
        assert not drawn
        return
    ((figure, name),) = drawn
    assert name == "bias.png"
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [(10, -1), (20, 0), (30, 1)])
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [(10, -2), (20, -1), (30, 0)])
    assert [text.get_text() for text in axes.texts] == ["gamma 0.9", "gamma 0.5"]
