"""Generated images and their measures: an affine model whose every image has known moments."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config, validate
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.evaluation.generation import comparison, sources
from sfvae_jax.evaluation.generation.densities.codes import aggregated_codes, training_codes
from sfvae_jax.evaluation.generation.features import classifier, inception
from sfvae_jax.evaluation.generation.features.spec import as_pictures
from sfvae_jax.evaluation.generation.sources import SOURCES
from sfvae_jax.train import train

WEIGHTS = 0.02 * np.random.default_rng(0).normal(size=(16, 2))
STDDEV, PRIOR = np.array([0.5, 1.0]), np.array([1.5, 0.7])


class Affine(nn.Module):
    """Codes from the first two pixels; images 1/2 + W z, far from black and white."""

    stochastic: bool = True

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS, jnp.float32))

    def encode(self, x):
        mean = 4.0 * (x.ravel()[:2] - 0.5)
        if not self.stochastic:
            return posteriors.Point(mean)
        return posteriors.DiagonalGaussian(mean, jnp.array(STDDEV, jnp.float32))

    def decode(self, z):
        return (0.5 + self.weights @ z).reshape(4, 4, 1)

    def __call__(self, x):
        return self.decode(self.encode(x).mean)


def _part(name, number):
    rng = np.random.default_rng({"train": 1, "valid": 2, "test": 3}[name])
    images = rng.integers(0, 256, (number, 4, 4, 1), np.uint8)
    return images, (images[:, 0, 0, 0] > 127).astype(int)


SIZES = {"train": 300, "valid": 30, "test": 50}


@pytest.fixture
def trained(monkeypatch):
    """Pixels stand in for Inception's features; how often they are computed is counted."""
    config = base_config().evaluations
    config.batch_size = 400
    config.names = ("frechet", "precision_recall")
    config.generated.num_samples = 60
    config.generated.second_stage_hidden_sizes = (8,)
    config.generated.second_stage_steps = 20
    model = evaluation.TrainedModel(
        model=Affine(),
        params={"params": {"weights": jnp.array(WEIGHTS, jnp.float32)}},
        images=_part("test", 5)[0],
        rng=jax.random.key(3),
        config=config,
        likelihood=likelihoods.Gaussian(0.1),
        prior_stddev=PRIOR,
        images_of=lambda part: _part(part, SIZES[part])[0],
        labels_of=lambda part: _part(part, SIZES[part])[1],
    )
    taken = []
    monkeypatch.setattr(inception, "load_weights", lambda path: path)

    def pixels(weights, images):
        taken.append(len(images))
        return images.reshape(len(images), -1)[:, :6].astype(np.float32) / 255

    monkeypatch.setattr(inception, "inception_features", pixels)
    model.shared["taken"] = taken
    return model


def _means(images):
    return 4.0 * (images.reshape(len(images), -1)[:, :2] / 255.0 - 0.5)


def _decoded(z):
    return np.round(255 * (0.5 + z @ WEIGHTS.T)).astype(np.uint8).reshape(-1, 4, 4, 1)


def _by_scipy(a, b):
    a, b = (x.reshape(len(x), -1)[:, :6] / 255.0 for x in (a, b))
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T))
    shift = a.mean(axis=0) - b.mean(axis=0)
    return shift @ shift + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root).real


def test_reconstructions_of_validation_images_against_test_images(trained):
    trained.config.names = ("frechet",)
    trained.config.frechet.sources = ("reconstructions",)
    metrics, *_ = evaluation.measure(trained)
    valid, test = (_part(name, SIZES[name])[0] for name in ("valid", "test"))
    rebuilt = _decoded(_means(valid))
    found = sources.generate(trained, "reconstructions", trained.config.generated.num_samples)
    assert np.max(np.abs(found.astype(int) - rebuilt)) <= 1  # float32 may round the other way
    # 30 validation images: so many of the 50 test images are taken, the first.
    expected = _by_scipy(found, test[:30])
    assert metrics["fid_reconstructions"] == pytest.approx(expected, rel=1e-5)
    trained.config.generated.num_samples = 20  # the first ones of both
    fewer, *_ = evaluation.measure(dataclasses.replace(trained))
    expected = _by_scipy(found[:20], test[:20])
    assert fewer == {
        "fid_reconstructions": pytest.approx(expected, rel=1e-5),
        "frechet_num_images": 20,
    }


def _covariances(trained):
    """The covariance of each density, computed by NumPy from the codes that it is fitted to."""
    means = _means(trained.images_of("train"))
    return {
        "prior": np.diag(PRIOR**2),
        "optimal_prior": np.diag(STDDEV**2 + np.mean(means**2, axis=0)),
        "gaussian": np.cov(training_codes(trained).T),
    }


@pytest.mark.parametrize("source", ["prior", "optimal_prior", "gaussian"])
def test_random_images_have_the_moments_of_their_density(trained, source):
    """The covariance W C W' of 4,000 images, within 5 standard errors and a rounding of 1 / 12."""
    trained.config.generated.num_samples = 4000
    images = sources.generate(trained, source, trained.config.generated.num_samples)
    expected = WEIGHTS @ _covariances(trained)[source] @ WEIGHTS.T
    variance = np.diag(expected)
    errors = np.sqrt((np.outer(variance, variance) + expected**2) / 4000)
    rounding = np.eye(16) / 12 / 255**2
    found = np.cov((images.reshape(4000, 16) / 255.0).T)
    assert np.all(np.abs(found - expected - rounding) < 5 * errors + 1e-7)


def test_every_source_keeps_its_stream_of_noise():
    """Other numbers would change the images of seeded runs; a new source takes the next one."""
    streams = {name: source.stream for name, source in SOURCES.items()}
    assert len(set(streams.values())) == len(streams)
    names = ("reconstructions", "prior", "optimal_prior", "gaussian", "gmm", "second_stage")
    assert [streams[name] for name in (*names, "interpolations")] == list(range(7))


def test_pixels_are_clipped_and_do_not_wrap_around():
    found = sources.to_stored(np.array([-3.0, 0.0, 0.5, 2.0, 2.1, 9.0]), 2.0)
    np.testing.assert_array_equal(found, [0, 0, 64, 255, 255, 255])


def test_training_codes_are_samples_of_the_aggregated_posterior(trained):
    """They spread about the means like the posterior, within 4.5 standard errors; points do not."""
    means = _means(trained.images_of("train"))
    spread = np.std(training_codes(trained) - means, axis=0)
    assert np.all(abs(spread / STDDEV - 1) < 4.5 / np.sqrt(2 * len(means)))
    point = dataclasses.replace(trained, model=Affine(stochastic=False))
    np.testing.assert_allclose(training_codes(point), means, atol=1e-5)


def test_data_scale_is_divided_out(trained):
    """If pixels lie in [0, 2], a decoded 1/2 is a quarter of white."""
    doubled = dataclasses.replace(trained, data_scale=2.0)
    found = sources.decode_images(doubled, np.zeros((3, 2)))
    np.testing.assert_array_equal(found, 64)
    assert found.dtype == np.uint8


def test_interpolations_are_halfway_between_different_validation_images(trained):
    valid = trained.images_of("valid")[:4]
    few = dataclasses.replace(trained, images_of=lambda part: valid)
    found = sources.generate(few, "interpolations", trained.config.generated.num_samples)
    means = _means(valid)
    halfway = []
    for i in range(4):
        for j in range(4):
            if i != j:
                a, b = means[i], means[j]
                norms = np.linalg.norm(a), np.linalg.norm(b)
                angle = np.arccos(a @ b / norms[0] / norms[1])
                halfway.append((a + b) * np.sin(angle / 2) / np.sin(angle))
    steps = np.abs(found[:, None].astype(int) - _decoded(np.array(halfway))).max(axis=(2, 3, 4))
    assert np.all(steps.min(axis=1) <= 1)
    assert len(np.unique(found.reshape(60, -1), axis=0)) == 6  # every pair occurs
    alone = dataclasses.replace(trained, images_of=lambda part: valid[:1])
    with pytest.raises(evaluation.NotApplicable, match="two validation images"):
        sources.generate(alone, "interpolations", trained.config.generated.num_samples)


def test_every_source_has_its_measures_and_evaluations_share_the_work(trained):
    trained.config.frechet.sources = tuple(SOURCES)
    trained.config.precision_recall.sources = ("reconstructions", "second_stage")
    metrics, reasons, *_ = evaluation.measure(trained)
    assert not reasons
    config = trained.config
    names = [n for name in config.names for n in evaluation.metric_names(config, name)]
    assert list(metrics) == names
    mixture = ("gmm_held_out_log_density", "gmm_held_out_log_density_minus_training")
    distances = [f"fid_{source}" for source in SOURCES]
    assert names[:10] == [*distances, "frechet_num_images", *mixture]
    assert names[10:12] == ["prd_f8_reconstructions", "prd_f1_8_reconstructions"]
    assert len(names) == 10 + 4
    assert all(0 <= metrics[name] <= 1 for name in names[10:])
    # Once for the test images and once for each source, in both evaluations together; as many of
    # each as there are validation images, the fewest.
    assert trained.shared["taken"] == 8 * [30]
    assert metrics["frechet_num_images"] == 30


def test_features_of_real_images_are_computed_once_for_all_checkpoints(trained):
    """They are computed again for other images, as are those that each checkpoint generates."""
    trained.config.names = ("frechet",)
    trained.config.frechet.sources = ("reconstructions", "prior")
    taken = trained.shared["taken"]
    first, *_ = evaluation.measure(trained)
    later = {"params": {"weights": jnp.array(0.5 * WEIGHTS, jnp.float32)}}
    second, *_ = evaluation.measure(dataclasses.replace(trained, params=later))
    assert taken == 5 * [30]
    assert first["fid_prior"] != second["fid_prior"]
    fresh = dataclasses.replace(trained, params=later, programs={})
    assert evaluation.measure(fresh)[0] == second
    assert taken == 8 * [30]
    others = lambda part: _part(part, SIZES[part])[0][::-1]  # noqa: E731
    evaluation.measure(dataclasses.replace(trained, images_of=others))
    assert taken == 11 * [30]


def test_a_measure_does_not_depend_on_the_others(trained):
    trained.config.names = ("frechet",)
    both, *_ = evaluation.measure(trained)
    fresh = dataclasses.replace(trained)
    fresh.config.frechet.sources = ("reconstructions", "gmm")  # the first decides the number
    alone, *_ = evaluation.measure(fresh)
    assert set(alone) < set(both)
    assert all(alone[name] == both[name] for name in alone)


def test_log_densities_of_the_mixture_equal_those_by_hand(trained):
    trained.config.names, trained.config.frechet.sources = ("frechet",), ("gmm",)
    metrics, *_ = evaluation.measure(trained)
    mixture = sources.density(trained, "gmm")
    held_out = aggregated_codes(trained, trained.images_of("valid"))
    by_code = mixture.log_density(held_out)
    assert metrics["gmm_held_out_log_density"] == pytest.approx(by_code.mean())
    training = mixture.log_density(training_codes(trained)).mean()
    gap = metrics["gmm_held_out_log_density_minus_training"]
    assert gap == pytest.approx(by_code.mean() - training)


def test_a_deterministic_model_has_every_source_but_a_prior(trained):
    trained.config.frechet.sources = tuple(SOURCES)
    point = dataclasses.replace(trained, model=Affine(stochastic=False), prior_stddev=None)
    metrics, reasons, *_ = evaluation.measure(point)
    assert set(reasons) == {
        "fid_prior",
        "fid_optimal_prior",
        "prd_f8_prior",
        "prd_f1_8_prior",
    }
    assert reasons["fid_prior"] == "the model was trained without a prior"
    assert "variance of a Point posterior has no closed form" in reasons["fid_optimal_prior"]
    assert all(metrics[name] is None for name in reasons)


def test_a_classifiers_distance_is_never_called_fid(trained):
    trained.config.generated.features = "classifier"
    trained.config.generated.classifier_steps = 5
    for name in trained.config.names:
        trained.config[name].sources = ("prior", "reconstructions")
    metrics, reasons, *_ = evaluation.measure(trained)
    assert not reasons
    assert list(metrics) == [
        "frechet_classifier_distance_prior",
        "frechet_classifier_distance_reconstructions",
        "frechet_num_images",
        "classifier_accuracy",
        "prd_classifier_f8_prior",
        "prd_classifier_f1_8_prior",
        "prd_classifier_f8_reconstructions",
        "prd_classifier_f1_8_reconstructions",
    ]
    images, labels = _part("test", 50)
    own = classifier.classifier(trained)
    assert metrics["classifier_accuracy"] == own.accuracy(images, labels)
    assert not trained.shared["taken"]
    unlabelled = dataclasses.replace(trained, labels_of=lambda part: None)
    metrics, reasons, *_ = evaluation.measure(unlabelled)
    assert reasons.keys() == metrics.keys()
    assert set(reasons.values()) == {"the data set has no labels for a classifier to learn"}


def test_too_few_images_are_a_reason_not_to_measure(trained):
    images = trained.images_of("train")
    tiny = {"train": images[:5], "valid": images[5:8], "test": images[8:14]}
    few = dataclasses.replace(trained, images_of=tiny.get)
    few.config.generated.num_samples = 6
    _, reasons, *_ = evaluation.measure(few)
    assert "gmm needs at least 10 training images, got 5" in reasons["fid_gmm"]
    assert "gmm needs at least 10" in reasons["gmm_held_out_log_density"]
    assert "20 clusters need at least 20 images, got 6" in reasons["prd_f8_prior"]
    alone = dataclasses.replace(trained, images_of=None)
    metrics, reasons, *_ = evaluation.measure(alone)
    assert reasons.keys() == metrics.keys()
    no_images = dataclasses.replace(trained, images_of=lambda part: np.zeros((30, 7), np.uint8))
    with pytest.raises(evaluation.NotApplicable, match="1 or 3 channels, got 7"):
        comparison.features_of(no_images, "test")


def test_a_diverged_model_raises_an_error(trained):
    broken = dataclasses.replace(trained, params=jax.tree.map(lambda w: w * np.nan, trained.params))
    with pytest.raises(RunError, match="decoded images are not finite"):
        evaluation.measure(broken)


def test_floats_and_grey_planes_become_stored_images():
    floats = np.array([0.0, 0.499 / 255, 0.501 / 255, 1.0], np.float32).reshape(1, 2, 2)
    found = as_pictures(floats)
    np.testing.assert_array_equal(found.ravel(), [0, 0, 1, 255])
    assert found.shape == (1, 2, 2, 1)


@pytest.mark.parametrize("name", ["frechet", "precision_recall"])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sources", ("prior", "gm"), "sources: unknown source 'gm'; did you mean 'gmm'"),
        ("sources", (), "sources must be 1 or more of reconstructions, prior"),
        ("sources", ("gmm", "gmm"), "sources must be 1 or more of .*none of them twice"),
        ("features", "incption", "features: unknown features 'incption'; did you mean 'inception'"),
        ("num_samples", 1, "num_samples must be a whole number from 2 to .*, got 1"),
        ("gmm_components", 0, "gmm_components must be a whole number from 1 to .*, got 0"),
        ("second_stage_steps", -1, "second_stage_steps must be a whole number from 1 to"),
        ("second_stage_learning_rate", 0.0, "second_stage_learning_rate must be a positive"),
        ("second_stage_hidden_sizes", (8, 0), "second_stage_hidden_sizes must be positive sizes"),
        ("features", "inception", "inception_path is empty: the FID needs pt_inception"),
        ("inception_path", "/nowhere.pth", "inception_path=/nowhere.pth: there is no file"),
    ],
)
def test_invalid_options_are_refused_at_the_start(name, key, value, message):
    config = base_config()
    group = name if key == "sources" else "generated"
    if key != "inception_path":
        config.evaluations.generated.features = "classifier"
    config.evaluations[group][key] = value
    if value == "inception" or key == "inception_path":
        validate(config)  # no evaluation that is named reads the file
        config.evaluations.names = (name,)
    with pytest.raises(UsageError, match=f"evaluations.{group}.{message}"):
        validate(config)


def test_a_file_with_other_weights_is_refused_at_the_start(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"not those")
    config = base_config()
    config.evaluations.names = ("frechet",)
    config.evaluations.generated.inception_path = str(tmp_path / "weights.pth")
    with pytest.raises(
        UsageError, match=r"\(9 bytes\) has SHA-256 [0-9a-f]{16}\.\.\., expected 67"
    ):
        validate(config)


@pytest.mark.slow  # measured without a run above
def test_a_run_takes_these_measures(tiny_config, tmp_path):
    names = ("frechet", "precision_recall")
    options = {"features": "classifier", "num_samples": 24, "classifier_steps": 2}
    changes = {f"evaluations.generated.{key}": value for key, value in options.items()}
    changes |= {"evaluations.names": names, "objective.name": "sampling", "data.num_test": 30}
    changes |= {"evaluations.steps": (3,), "train.steps": 3}
    config = tiny_config(**changes, **{"data.num_valid": 24})
    train(config, tmp_path)
    metrics = json.loads((tmp_path / "results.json").read_text())["history"]["3"]
    expected = [n for name in names for n in evaluation.metric_names(config.evaluations, name)]
    assert list(metrics) == expected
    assert all(np.isfinite(value) for value in metrics.values())
    with pytest.raises(UsageError, match="no valid split of its own; hold some images out"):
        train(tiny_config(**changes), tmp_path / "other")
