"""The whole evaluation on a linear model, where every bound has a closed form."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import NotApplicable, figures
from sfvae_jax.evaluation.inference_gaps import drawing, latent_plane
from sfvae_jax.evaluation.inference_gaps.evaluation import evaluate_inference_gaps
from sfvae_jax.evaluation.inference_gaps.measured_split import measured_split

WEIGHTS = np.array([[1.2, 0.9], [-0.3, 0.4], [0.8, 0.9]], np.float32)
VARIANCE = 0.3
PRECISION = np.eye(2) + WEIGHTS.T.astype(float) @ WEIGHTS / VARIANCE
SHARE = 0.7  # of the stddev that is best for a factorised posterior, is the encoder's


class Model(nn.Module):
    """A linear model with exact posterior means and too small standard deviations."""

    density: bool = True

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        mean = jnp.array(np.linalg.inv(PRECISION) @ WEIGHTS.T / VARIANCE, jnp.float32) @ x
        stddev = jnp.array(SHARE * np.diag(PRECISION) ** -0.5, jnp.float32)
        return posteriors.DiagonalGaussian(mean, stddev) if self.density else posteriors.Point(mean)

    def decode(self, z):
        return self.weights @ z


def _images(seed, count):
    rng = np.random.default_rng(seed)
    z, noise = rng.normal(size=(count, 2)), rng.normal(size=(count, 3))
    return (z @ WEIGHTS.T + VARIANCE**0.5 * noise).astype(np.float32)


DATA = {"train": _images(0, 12), "test": _images(1, 12)}
OPTIONS = {
    "num_images": 8,
    "num_samples": 400,
    "chunk_size": 200,
    "families": ("diagonal", "full_covariance"),
    "num_simulated": 8,
    "annealing.num_chains": 12,
    "annealing.num_temperatures": 60,
    "annealing.num_leapfrog_steps": 5,
    "local.num_samples": 8,
    "local.learning_rate": 0.05,
    "local.check_every": 40,
    "local.patience": 3,
}


def _trained(density=True, **changes):
    config = base_config().evaluations
    config.names = ("inference_gaps",)
    config.inference_gaps.update_from_flattened_dict(OPTIONS | changes)
    return evaluation.TrainedModel(
        model=Model(density),
        params={"params": {"weights": WEIGHTS}},
        images=DATA["test"],
        rng=jax.random.key(3),
        config=config,
        likelihood=likelihoods.Gaussian(VARIANCE),
        posterior_family="diagonal" if density else "none",
        images_of=DATA.__getitem__,
    )


@pytest.fixture(scope="module")
def measured():
    """A model that was measured, and its measures."""
    trained = _trained()
    return trained, evaluation.measure(trained)


def _log_evidence(x):
    covariance = WEIGHTS.astype(float) @ WEIGHTS.T + VARIANCE * np.eye(3)
    return scipy.stats.multivariate_normal(np.zeros(3), covariance).logpdf(x)


def _kl(variances):
    """Returns KL(N(mean, diag(variances)) || the exact posterior), the same for every image."""
    _, log_det = np.linalg.slogdet(PRECISION)
    return 0.5 * (np.sum(np.diag(PRECISION) * variances) - 2 - log_det - np.log(variances).sum())


def test_every_gap_equals_its_closed_form(measured):
    metrics = measured[1].metrics
    best = 1.0 / np.diag(PRECISION)
    approximation, inference = _kl(best), _kl(SHARE**2 * best)
    assert approximation > 0.3
    for split, x in DATA.items():
        evidence = _log_evidence(x[:8]).mean()
        # 12 chains leave the mean of eight images an error of some 0.03 nats
        assert metrics[f"log_evidence_{split}"] == pytest.approx(evidence, abs=0.12)
        expected = {
            "inference_gap": inference,
            "approximation_gap": approximation,
            "amortization_gap": inference - approximation,
            "linearized_gain": inference,
            "linearized_covariance_gain": approximation,
        }
        for name, value in expected.items():
            assert metrics[f"{name}_{split}"] == pytest.approx(value, abs=0.15), name
        bounds = {
            "lower_bound": evidence - inference,
            "optimal_diagonal_bound": evidence - approximation,
            "linearized_diagonal_bound": evidence - approximation,
            "optimal_full_covariance_bound": evidence,
            "linearized_full_covariance_bound": evidence,
        }
        for name, value in bounds.items():  # 3,200 samples, whose log weights spread by about 1
            assert metrics[f"{name}_{split}"] == pytest.approx(value, abs=0.08), name


def test_the_sandwich_holds_and_nothing_is_doubtful(measured):
    metrics, reasons, caveats, _ = measured[1]
    assert (reasons, caveats) == ({}, {})
    width, error = (metrics[f"simulated_sandwich{end}"] for end in ("", "_standard_error"))
    assert -3 * error < width < 0.5
    ends = metrics["simulated_upper_bound"] - metrics["simulated_lower_bound"]
    assert width == pytest.approx(ends)


def test_measures_have_the_announced_names(measured):
    trained, found = measured
    assert set(found.metrics) == set(evaluation.metric_names(trained.config, "inference_gaps"))


@pytest.mark.slow
def test_too_few_temperatures_are_a_caveat(measured):
    """With one instead of 60, the bounds of the simulated images are over a nat apart."""
    trained = _trained(families=(), parts=("test",), **{"annealing.num_temperatures": 1})
    metrics, reasons, caveats, _ = evaluation.measure(trained)
    assert "AIS has not mixed: on images simulated" in caveats["ais_bound_test"]
    assert "log_evidence_test" in caveats
    assert metrics["simulated_sandwich"] > measured[1].metrics["simulated_sandwich"]
    assert "approximation_gap_test" in reasons
    text = drawing.table({"metrics": metrics, "caveats": caveats}, ("test",))
    assert "† AIS has not mixed" in text
    assert text.splitlines()[2].endswith("† |")


def test_a_deterministic_encoder_has_evidence_and_no_gaps():
    trained = _trained(density=False, parts=("test",), families=("diagonal",), num_simulated=0)
    metrics, reasons, *_ = evaluation.measure(trained)
    assert metrics["log_evidence_test"] == metrics["ais_bound_test"]
    assert metrics["optimal_diagonal_bound_test"] < metrics["log_evidence_test"]
    assert {"inference_gap_test", "iwae_bound_test", "encoder_overfitting"} <= set(reasons)
    trained = dataclasses.replace(trained, no_bound="it has no density")
    with pytest.raises(NotApplicable, match="no density"):
        evaluate_inference_gaps(trained, trained.config.inference_gaps)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parts": ("tset",)}, "parts: unknown split 'tset'; did you mean 'test'"),
        (
            {"parts": ("test", "test")},
            "parts must be 1 or more of train, valid, test",
        ),
        ({"families": ("gaussian",)}, "families: unknown family 'gaussian'"),
        ({"families": ("constant",)}, "families: unknown family 'constant'"),
        ({"pictured": (3, 1000)}, "pictured must be indices from 0 to num_images - 1 = 999, got"),
        ({"local.hidden_sizes": (0,)}, "local.hidden_sizes must be positive"),
        ({"annealing.schedule": "cubic"}, "annealing.schedule: unknown schedule"),
        ({"annealing.num_chains": 0}, "annealing.num_chains must be a whole number from 1 to"),
        ({"local.max_steps": 10}, "local.max_steps"),
        ({"num_simulated": -1}, "num_simulated must be"),
    ],
)
def test_invalid_options_are_refused_before_training(changes, words):
    config = base_config().evaluations
    config.names = ("inference_gaps",)
    config.inference_gaps.update_from_flattened_dict(changes)
    with pytest.raises(UsageError, match=f"evaluations.inference_gaps.{words}"):
        evaluation.check_options(config)


def test_pictures(measured, tmp_path):
    trained, found = measured
    earlier = {"10": found.metrics, "100": found.metrics}
    results = {"metrics": found.metrics, "step": 1000, "history": earlier}
    options = trained.config.inference_gaps
    drawing.draw_inference_gaps(trained, options, results, "linear", tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    pictures = {"inference_gaps.png", "bounds_over_training.png", "posteriors.png"}
    assert drawn == {"inference_gaps.md", *pictures}
    assert [step for step, _ in drawing.curve(results)] == [10, 100, 1000]
    lines = (tmp_path / "inference_gaps.md").read_text().splitlines()
    assert lines[0] == "| nats | train | test |"
    gap = found.metrics["inference_gap_test"]
    error = found.metrics["inference_gap_test_standard_error"]
    assert any(line.endswith(f"| {gap:.2f} ± {error:.2f} |") for line in lines)


def test_the_grid_integrates_to_the_evidence(measured):
    trained, _ = measured
    grid = latent_plane.posterior_grid(trained, DATA["train"][0])
    assert grid.log_evidence == pytest.approx(_log_evidence(DATA["train"][0]), abs=1e-3)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e30])
def test_a_posterior_far_from_the_true_one_can_be_drawn(measured, mean):
    trained, _ = measured
    grid = latent_plane.posterior_grid(trained, DATA["train"][0])
    posterior = posteriors.DiagonalGaussian(jnp.full(2, mean), jnp.full(2, 0.01))
    axes = figures.new_figure(2, 2).subplots()
    latent_plane.outline(axes, grid, posterior, jax.random.key(0))
    assert len(axes.collections) + len(axes.texts) == 1


@pytest.mark.slow
def test_a_flow_has_a_density_of_z_alone():
    """The density integrates to 1 and has the mean of the samples."""
    networks = posteriors.init_auxiliary_flow(jax.random.key(0), 2, hidden_sizes=(8,))
    flow = posteriors.AuxiliaryFlow(jnp.array([0.3, -0.2]), jnp.array([0.5, 0.8]), None, networks)
    z, _ = jax.vmap(flow.sample_and_log_prob)(jax.random.split(jax.random.key(1), 4000))
    side = np.linspace(-6.0, 6.0, 61)
    points = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
    density = np.exp(latent_plane.log_density(flow, points, jax.random.key(2)))
    cell = 0.2**2
    assert density.sum() * cell == pytest.approx(1.0, abs=0.03)
    mean = (points * density[..., None]).sum(axis=(0, 1)) * cell
    error = np.std(z, axis=0) / np.sqrt(len(z))
    assert (np.abs(mean - np.mean(z, axis=0)) < 4 * error + 0.03).all()


def test_instructive_images_are_chosen(measured):
    trained, _ = measured
    split = measured_split(trained, "train", trained.config.inference_gaps)
    few = dataclasses.replace(split.bounds, optimal={})
    chosen = latent_plane.choose(dataclasses.replace(split, bounds=few))
    assert list(chosen.values()) == ["image 0", "image 1", "image 2", "image 3"]
    optimal = {
        "diagonal": np.array([-1.0, -5.0, -3.0, -9.0, -2.0]),
        "full_covariance": np.array([-0.9, -2.0, -2.9, -8.9, -1.7]),
    }
    evidence = np.array([-0.9, -1.8, -2.8, -3.0, -1.5])
    lower = np.array([-1.2, -5.1, -7.0, -9.1, -2.3])
    others = {"optimal": optimal, "lower": lower, "ais": evidence, "iwae": None}
    bounds = dataclasses.replace(split.bounds, **others)
    chosen = latent_plane.choose(dataclasses.replace(split, bounds=bounds))
    assert chosen == {
        0: "a factorised Gaussian fits",
        1: "dependent",
        2: "badly amortized",
        3: "not Gaussian",
    }
