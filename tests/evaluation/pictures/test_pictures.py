"""Traversals, neighbours and the pictures made of them, on a hand-made linear model."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image

from sfvae_jax import evaluation, likelihoods
from sfvae_jax.config import base_config
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.generation.sources import generate
from sfvae_jax.evaluation.pictures.evaluation import draw_gallery
from sfvae_jax.evaluation.pictures.traversals import latent_order, nearest, traversals
from sfvae_jax.posteriors import DiagonalGaussian, Point

WEIGHTS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


class Linear(nn.Module):
    """Codes are the first three pixels, with standard deviations 0.9, 0.1 and 0.5."""

    deterministic: bool = False

    def setup(self):
        self.weights = self.param("weights", lambda _: jnp.array(WEIGHTS))

    def encode(self, x):
        mean = x.ravel()[:3]
        return Point(mean) if self.deterministic else DiagonalGaussian(mean, STDDEV)

    def decode(self, z):
        return (self.weights @ z).reshape(4, 4, 1)

    def __call__(self, x):
        return self.decode(self.encode(x).mean)


STDDEV = jnp.array([0.9, 0.1, 0.5])
IMAGES = np.random.default_rng(1).integers(0, 256, (30, 4, 4, 1), np.uint8)


@pytest.fixture
def trained():
    return evaluation.TrainedModel(
        model=Linear(),
        params={"params": {"weights": WEIGHTS}},
        images=IMAGES[:12],
        rng=jax.random.key(0),
        config=base_config().evaluations,
        likelihood=likelihoods.Gaussian(0.5),
        prior_stddev=np.array([1.0, 1.0, 2.0]),
        images_of=lambda part: IMAGES[12:],
    )


def test_latents_are_ordered_by_their_divergence(trained):
    """Each latent has KL(N(mu, s^2) || N(0, 1)) = (s^2 + mu^2 - 1) / 2 - log s."""
    trained = dataclasses.replace(trained, prior_stddev=1.0)
    order, scores, name = latent_order(trained)
    means = IMAGES[:12].reshape(12, 16)[:, :3] / 255.0
    stddev = np.asarray(STDDEV)
    expected = 0.5 * (stddev**2 + np.mean(means**2, axis=0) - 1.0) - np.log(stddev)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert name == "KL"
    assert order.tolist() == [1, 2, 0]


def test_without_a_divergence_latents_are_ordered_by_the_codes_variance(trained):
    trained = dataclasses.replace(trained, model=Linear(True), prior_stddev=None)
    order, scores, name = latent_order(trained)
    variances = (IMAGES[:12].reshape(12, 16)[:, :3] / 255.0).var(axis=0)
    np.testing.assert_allclose(scores, variances, rtol=1e-4)
    assert name == "variance"
    np.testing.assert_array_equal(order, np.argsort(-variances))


def test_a_traversal_changes_one_latent_by_standard_deviations_of_the_prior(trained):
    code = np.array([0.3, -0.2, 0.1])
    images = traversals(trained, code, [2, 0], [-3.0, 0.0, 3.0])
    assert images.shape == (2, 3, 4, 4, 1)
    for row, (dimension, stddev) in enumerate(((2, 2.0), (0, 1.0))):
        for column, value in enumerate((-3.0, 0.0, 3.0)):
            moved = code.copy()
            moved[dimension] = stddev * value
            np.testing.assert_allclose(
                images[row, column].ravel(), WEIGHTS @ moved, rtol=1e-4, atol=1e-5
            )


def test_without_a_prior_a_traversal_counts_deviations_of_the_codes(trained):
    trained = dataclasses.replace(trained, model=Linear(True), prior_stddev=None)
    codes = IMAGES[:12].reshape(12, 16)[:, :3] / 255.0
    image = traversals(trained, np.zeros(3), [1], [2.0])[0, 0]
    moved = np.array([0.0, codes[:, 1].mean() + 2.0 * codes[:, 1].std(), 0.0])
    np.testing.assert_allclose(image.ravel(), WEIGHTS @ moved, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_nearest_images_are_those_of_all_distances(dtype):
    rng = np.random.default_rng(2)
    others = rng.integers(0, 256, (4500, 3, 2)).astype(np.uint8)
    images = rng.random((5, 3, 2))
    if dtype == np.float32:
        others = (others / 255.0).astype(np.float32)
    pixels = others / (255.0 if dtype == np.uint8 else 1.0)
    distances = np.square(images[:, None] - pixels).sum(axis=(2, 3))
    expected = np.argsort(distances, axis=1)[:, :4]
    np.testing.assert_array_equal(nearest(images, others, 4), expected)


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_gallery_is_drawn(trained, tmp_path, deterministic, monkeypatch):
    if deterministic:
        trained = dataclasses.replace(trained, model=Linear(True), prior_stddev=None)
    drawn = {}

    def draw(rows, title, path, draw_images=figures.draw_images):
        drawn[path.name] = rows, title
        draw_images(rows, title, path)

    monkeypatch.setattr(figures, "draw_images", draw)
    options = trained.config.pictures
    options.num_dimensions = 2 if deterministic else 0  # all three
    draw_gallery(trained, options, {}, "a model", tmp_path)
    found = sorted(path.name for path in tmp_path.iterdir())
    names = ["interpolations.png", "neighbours.png", "traversals_0.png", "traversals_1.png"]
    names += ["samples_gaussian.png", "samples_gmm.png"]
    names += [] if deterministic else ["samples_optimal_prior.png"]
    assert found == sorted(names)
    for name in names:
        picture = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert picture.shape[1] > 400
        assert len(np.unique(picture)) > 10  # images, not an empty page
    rows, _ = drawn["traversals_1.png"]
    order = latent_order(trained)[0][: 2 if deterministic else 3]
    assert [int(name.split()[1]) - 1 for name in rows] == order.tolist()
    # Neighbours are those of samples of the mixture, whether or not there is a prior.
    rows, title = drawn["neighbours.png"]
    assert "samples of the mixture of 10 Gaussians" in title
    samples = generate(trained, "gmm", 8) / 255.0
    nearby = IMAGES[12:][nearest(samples, IMAGES[12:], 5)] / 255.0
    for row, sample, images in zip(rows.values(), samples, nearby, strict=True):
        np.testing.assert_allclose(row, [sample, *images], atol=1e-6)


class Varied(Linear):
    """A model whose posterior variances depend on the pixels."""

    def encode(self, x):
        return DiagonalGaussian(x.ravel()[:3], 0.1 + x.ravel()[3:6])


def test_variances_are_drawn_where_they_differ(trained, tmp_path):
    others = {"images_of": lambda part: IMAGES[:6], "labels_of": lambda part: np.arange(12) % 3}
    trained = dataclasses.replace(trained, model=Varied(), **others)
    few = {"sources": (), "num_traversed": 1, "num_interpolations": 1, "num_samples": 1}
    options = ml_collections.ConfigDict({**trained.config.pictures, **few})
    draw_gallery(trained, options, {}, "a model", tmp_path)
    assert (tmp_path / "posterior_variances.png").read_bytes().startswith(b"\x89PNG")


def test_too_few_codes_for_a_mixture_are_logged(trained, tmp_path, caplog):
    trained = dataclasses.replace(trained, images_of=lambda part: IMAGES[:6])
    few = {"sources": (), "num_traversed": 1, "num_interpolations": 1}
    options = ml_collections.ConfigDict({**trained.config.pictures, **few})
    with caplog.at_level("INFO", "sfvae_jax"):
        draw_gallery(trained, options, {}, "a model", tmp_path)
    assert "neighbours.png is not drawn: gmm needs at least 10 training images" in caplog.text
    assert not (tmp_path / "neighbours.png").exists()
