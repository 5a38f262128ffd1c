"""Hand-made models compared with the optimal decoder, against NumPy, in chunks or at once."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sfvae_jax import evaluation, likelihoods, objectives, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.evaluation.linearization.optimal_decoder import EVALUATION

METRICS = tuple(measure.name for measure in EVALUATION.measures)
WEIGHTS = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (60, 4, 4, 1), np.uint8)
TRAINING, TEST = IMAGES[:37], IMAGES[37:]
STDDEV = np.array([0.2, 0.4], np.float32)


class Linear(nn.Module):
    """Codes are the first two pixels."""

    family: str = "diagonal"
    narrow: float = 1.0

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        mean = x.ravel()[:2]
        if self.family == "point":
            return posteriors.Point(mean)
        return posteriors.DiagonalGaussian(mean, jnp.array(self.narrow * STDDEV))

    def decode(self, z):
        return (self.weights @ z).reshape(4, 4, 1)


class Optimal(Linear):
    """Decodes as the optimal decoder for its training images does."""

    def decode(self, z):
        x = TRAINING / np.float32(255.0)
        return objectives.optimal_decoder(z, x, x.reshape(37, 16)[:, :2], STDDEV)


@pytest.fixture
def trained():
    config = base_config().evaluations
    config.names = ("optimal_decoder",)
    config.optimal_decoder.chunk_size = 10
    return evaluation.TrainedModel(
        model=Linear(),
        params={"params": {"weights": WEIGHTS}},
        images=TEST,
        rng=jax.random.key(0),
        config=config,
        likelihood=likelihoods.Gaussian(0.5),
        images_of=lambda part: TRAINING,
    )


def _expected(x, components, scale=1.0):
    """Squared distances of every image by NumPy, in float64."""
    training = scale * components.reshape(len(components), 16) / 255.0
    x = scale * x.reshape(len(x), 16) / 255.0
    offsets = x[:, None, :2] - training[None, :, :2]
    shares = np.exp(-0.5 * np.square(offsets / STDDEV).sum(axis=2))
    shares /= shares.sum(axis=1, keepdims=True)
    best = shares @ training
    slopes = offsets / STDDEV.astype(float) ** 2
    residuals = best[:, None] - training[None]
    jacobians = np.einsum("ki,kin,kim->knm", shares, residuals, slopes)
    decoded = x[:, :2] @ WEIGHTS.T
    return {
        "distance": np.square(decoded - best).sum(axis=1),
        "error": np.square(decoded - x).sum(axis=1),
        "optimal": np.square(best - x).sum(axis=1),
        "jacobian": np.square(WEIGHTS - jacobians).sum(axis=(1, 2)),
        "sizes": np.square(WEIGHTS).sum() + np.square(jacobians).sum(axis=(1, 2)),
        "components": 1 / np.square(shares).sum(axis=1),
    }


def test_distances_match_numpy(trained):
    metrics, reasons, caveats, _ = evaluation.measure(trained)
    expected = _expected(TEST, TRAINING)
    assert not reasons
    assert not caveats
    assert set(metrics) == set(METRICS)
    ratio = expected["distance"].mean() / expected["error"].mean()
    assert metrics["optimal_decoder_distance"] == pytest.approx(ratio, rel=1e-4)
    spread = (expected["distance"] - ratio * expected["error"]) / expected["error"].mean()
    error = spread.std(ddof=1) / np.sqrt(23)
    assert metrics["optimal_decoder_distance_standard_error"] == pytest.approx(error, rel=1e-3)
    assert metrics["optimal_decoder_error"] == pytest.approx(expected["optimal"].mean(), rel=1e-4)
    jacobian = expected["jacobian"].mean() / expected["sizes"].mean()
    assert metrics["optimal_decoder_jacobian_distance"] == pytest.approx(jacobian, rel=1e-4)
    components = expected["components"].mean()
    assert metrics["optimal_decoder_components"] == pytest.approx(components, rel=1e-4)


def test_num_components_num_images_and_another_scale(trained):
    trained.config.optimal_decoder.num_components = 13
    trained.config.optimal_decoder.num_images = 7
    metrics, *_ = evaluation.measure(dataclasses.replace(trained, data_scale=2.0))
    expected = _expected(TEST[:7], TRAINING[np.arange(13) * 3], 2.0)
    ratio = expected["distance"].mean() / expected["error"].mean()
    assert metrics["optimal_decoder_distance"] == pytest.approx(ratio, rel=1e-4)


def test_the_optimal_decoder_has_no_distance_from_itself(trained):
    metrics, *_ = evaluation.measure(dataclasses.replace(trained, model=Optimal()))
    assert metrics["optimal_decoder_distance"] == pytest.approx(0.0, abs=1e-9)
    assert metrics["optimal_decoder_jacobian_distance"] == pytest.approx(0.0, abs=1e-9)


def test_posteriors_that_do_not_overlap_give_a_caveat(trained):
    metrics, _, caveats, _ = evaluation.measure(
        dataclasses.replace(trained, model=Linear(narrow=0.01))
    )
    assert metrics["optimal_decoder_components"] < 2.0
    assert metrics["optimal_decoder_jacobian_distance"] > 0.0
    told = {"optimal_decoder_distance", "optimal_decoder_jacobian_distance"}
    assert set(caveats) == told
    assert "repeats single images" in caveats["optimal_decoder_distance"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": Linear("point")}, "a Point posterior is not a diagonal Gaussian"),
        ({"no_bound": "no density"}, "no density"),
        (
            {"likelihood": likelihoods.DiscretizedLogistic()},
            "DiscretizedLogistic likelihood has no",
        ),
        ({"images_of": None}, "only the evaluated examples"),
    ],
)
def test_a_model_without_an_optimal_decoder_says_why(trained, changes, reason):
    metrics, reasons, *_ = evaluation.measure(dataclasses.replace(trained, **changes))
    assert set(metrics.values()) == {None}
    assert all(reason in text for text in reasons.values())


def test_the_picture_has_both_decoders(trained, tmp_path):
    evaluation.draw(trained, "optimal_decoder", {}, "a model", tmp_path)
    picture = np.asarray(Image.open(tmp_path / "optimal_decoder.png").convert("L"))
    assert len(np.unique(picture)) > 10
