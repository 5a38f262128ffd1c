"""The number of samples that do as well as the linearisation: the law, SFVAE Table 1, a model."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import load_config

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.evaluation import equivalent_samples, figures
from sfvae_jax.evaluation.linearization import jacobian_quality
from sfvae_jax.evaluation.linearization.jacobian_quality import noise_to_signal

COUNTS = (5, 10, 25, 50, 70, 100, 235)


@pytest.mark.parametrize("number", [2.5, 5.0, 7.3, 25.0, 234.0, 235.0, 4000.0])
def test_errors_that_follow_the_law_give_the_exact_number_of_samples(number):
    """Between the counts, at them, below the smallest and above the largest."""
    errors = [3.0 / (count - 1) for count in COUNTS]
    assert equivalent_samples(COUNTS, errors, 3.0 / (number - 1)) == pytest.approx(number)


def test_another_power_law_is_exact_between_the_counts_only():
    errors = [1.0 / (count - 1) ** 2 for count in (5, 17)]
    assert equivalent_samples((5, 17), errors, 1.0 / 8**2) == pytest.approx(9)
    assert equivalent_samples((5, 17), errors, errors[1] / 2) == pytest.approx(1 + 2 * 16)
    assert equivalent_samples((5, 17), errors, errors[0] * 2) == pytest.approx(1 + 4 / 2)


def test_noisy_errors_take_the_first_crossing():
    assert equivalent_samples((2, 3, 5, 9), (4.0, 1.0, 2.0, 0.5), 1.0) == pytest.approx(3)
    assert equivalent_samples((2, 3, 5), (2.0, 2.0, 1.0), 2.0) == pytest.approx(2)


@pytest.mark.parametrize("error", [0.0, -1.0, math.inf, math.nan])
def test_errors_that_are_not_positive_and_finite_are_refused(error):
    with pytest.raises(ValueError, match="positive and finite"):
        equivalent_samples((5, 10), (2.0, 1.0), error)
    with pytest.raises(ValueError, match="positive and finite"):
        equivalent_samples((5, 10), (2.0, error), 1.0)


def test_the_papers_table():
    """Its text: 70 to 100 samples by correlation, more than 235 by the Frobenius norm."""
    row = load_config("jacobian_quality").get_config().published.rows.sampling_celeb_a
    methods = ("linearized", *COUNTS)
    correlation = np.array([row[f"variance_correlation_{method}"]["end"][0] for method in methods])
    errors = [row[f"covariance_error_squared_{method}"]["end"][0] for method in methods]
    noise = noise_to_signal(correlation)
    assert 70 <= equivalent_samples(COUNTS, noise[1:], noise[0]) <= 100
    assert 235 < equivalent_samples(COUNTS, errors[1:], errors[0]) < 245
    degrees = np.array(COUNTS) - 1.0
    # The law that both are read by; and norms that were not squared would spread over a factor 7.
    assert np.ptp(np.log(degrees[:-1] * noise[1:-1])) < np.log(1.1)
    assert np.ptp(np.log(degrees * errors[1:])) < np.log(1.07)


def test_noise_to_signal():
    found = noise_to_signal(np.array([1.0, 0.5, 0.0, -0.3]))
    np.testing.assert_array_equal(found, [0.0, 3.0, np.inf, np.inf])


MIX = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)


class Model(nn.Module):
    """Linear, or with half of each latent's line flattened; or constant."""

    kind: str = "linear"
    family: str = "diagonal"

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(MIX))

    def encode(self, x):
        mean, stddev = x.ravel()[:2], jnp.array([0.5, 1.0])
        if self.family == "full_covariance":
            return posteriors.FullCovarianceGaussian(mean, jnp.diag(stddev))
        if self.family == "planar":
            return posteriors.PlanarFlow(mean, stddev, jnp.ones((1, 2)), mean[None], mean[:1])
        return posteriors.DiagonalGaussian(mean, stddev)

    def decode(self, z):
        shaped = {"linear": z, "relu": jax.nn.relu(z), "constant": 0.0 * z}[self.kind]
        return (self.weights @ shaped).reshape(2, 3)


@functools.cache
def _measure(model, **changes):
    config = base_config().evaluations
    config.names = ("jacobian_quality",)
    options = {"sample_counts": (4, 12), "num_truth": 2000, "num_images": 3, **changes}
    config.jacobian_quality.update(options)
    trained = evaluation.TrainedModel(
        model=model,
        params={"params": {"weights": MIX}},
        images=np.random.default_rng(1).integers(0, 256, (4, 2, 3), np.uint8),
        rng=jax.random.key(0),
        config=config,
        likelihood=likelihoods.Gaussian(0.3),
    )
    metrics, reasons, *_ = evaluation.measure(trained)
    assert list(metrics) == list(evaluation.metric_names(config, "jacobian_quality"))
    return trained, metrics, reasons


def test_the_linearisation_of_a_linear_model_has_no_error():
    _, metrics, _ = _measure(Model())
    assert metrics["variance_correlation_linearized"] > 0.998
    assert metrics["variance_ratio"] == pytest.approx(1.0, abs=0.1)
    noise = metrics["covariance_error_squared_linearized_monte_carlo_error"]
    error = metrics["covariance_error_squared_linearized"]
    assert abs(error) < 4 * noise < metrics["covariance_error_squared_12"]
    assert metrics["covariance_error_linearized"] == pytest.approx(max(error, 0.0) ** 0.5)
    worth = metrics["equivalent_samples_covariance"]
    assert worth is None or worth > 12
    assert metrics["equivalent_samples_correlation"] > 12


def test_the_variance_of_a_decoder_that_turns_constant_is_overestimated():
    """At relu's kink the linearisation takes all of the variance, or none; the mean is above 0."""
    _, metrics, _ = _measure(Model("relu"))
    assert metrics["variance_ratio"] > 1.2
    noise = metrics["covariance_error_squared_linearized_monte_carlo_error"]
    assert metrics["covariance_error_squared_linearized"] > 10 * noise
    assert metrics["covariance_error_squared_12"] < metrics["covariance_error_squared_4"]
    assert metrics["equivalent_samples_covariance"] > 1


def test_measures_are_means_over_the_images():
    _, metrics, _ = _measure(Model("relu"))
    alone = []
    for number in (1, 2, 3):
        _, some, reasons = _measure(Model("relu"), num_images=number)
        alone.append(number * some["covariance_error_squared_4"])
        assert ("variance_correlation_linearized_standard_error" in reasons) == (number == 1)
    each = np.diff([0.0, *alone])
    assert np.ptp(each) > 0
    assert metrics["covariance_error_squared_4"] == pytest.approx(each.mean(), rel=1e-5)


def test_a_diagonal_covariance_is_measured_as_the_diagonal_posterior():
    _, expected, _ = _measure(Model("relu"))
    _, metrics, _ = _measure(Model("relu", "full_covariance"))
    assert metrics == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Model(family="planar"), "a PlanarFlow posterior is not a Gaussian"),
        (Model("constant"), "the decoder's output does not vary"),
    ],
)
def test_a_model_without_jacobian_quality_says_why(model, reason):
    _, metrics, reasons = _measure(model)
    assert set(metrics.values()) == {None}
    assert all(text.startswith(reason) for text in reasons.values())


def _metrics(linearized):
    """As the law has them, the linearisation's worth `linearized` samples."""
    methods = {"linearized": linearized, 5: 5, 25: 25}
    law = {name: 1.0 / (number - 1) for name, number in methods.items()}
    return {
        **{f"covariance_error_squared_{name}": error for name, error in law.items()},
        **{f"variance_correlation_{name}": (1 + e) ** -0.5 for name, e in law.items()},
        "equivalent_samples_covariance": float(linearized),
        "equivalent_samples_correlation": None,
        "variance_ratio": 1.2,
    }


@pytest.mark.parametrize(("linearized", "extrapolated"), [(10, False), (300, True)])
def test_the_picture_marks_the_crossing(linearized, extrapolated):
    figure = jacobian_quality.draw_quality(_metrics(linearized), (5, 25), "title")
    left, right = figure.axes
    np.testing.assert_allclose(right.lines[0].get_xydata(), [(5, 1 / 4), (25, 1 / 24)])
    crossing = next(line for line in right.lines if line.get_marker() == "D")
    np.testing.assert_allclose(crossing.get_xydata(), [(linearized, 1 / (linearized - 1))])
    assert ("extrapolated" in crossing.get_label()) == extrapolated
    assert len(left.lines) == 2  # an equivalent that does not apply is not marked


def test_nothing_is_drawn_if_the_measures_do_not_apply(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(path.name))
    of_line = lambda trained, title, path: drawn.append(path.name)  # noqa: E731
    monkeypatch.setattr(jacobian_quality, "draw_taylor", of_line)
    options = base_config().evaluations.jacobian_quality
    options.sample_counts = (5, 25)
    draw = evaluation.EVALUATIONS["jacobian_quality"].draw
    draw(None, options, {"metrics": {"variance_ratio": None}}, "title", tmp_path)
    assert not drawn
    draw(None, options, {"metrics": _metrics(10)}, "title", tmp_path)
    assert drawn == ["jacobian_quality.png", "taylor.png"]
