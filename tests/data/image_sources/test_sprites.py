"""Rendered sprites: the same bits on every machine, and the right shapes."""

import hashlib
import time

import numpy as np
import pytest
from scipy import stats

from sfvae_jax import data
from sfvae_jax.config import base_config
from sfvae_jax.data.image_sources import sprites


def _source(split="train", num_channels=3):
    return sprites.open_sprites(num_channels)[split]


@pytest.mark.parametrize(
    ("split", "num_channels", "digest"),
    [
        ("train", 3, "172d882fe1b69158e067f04b7aba8341cf784567eee73b8b5547582420ad9a63"),
        ("test", 3, "b77fae6d28a578c837376090c09d4a115e188ae07081a04b9faad259e4700b69"),
        ("train", 1, "8f6c01b569f3367ac4bff9d34c349811ed41a216370a9a7dc5beb3344de81734"),
    ],
)
def test_the_same_bits_on_every_machine(split, num_channels, digest):
    source = _source(split, num_channels)
    images = np.stack([source[i] for i in range(0, 2000, 20)])
    assert images.shape == (100, 64, 64, num_channels)
    assert images.dtype == np.uint8
    assert hashlib.sha256(images.tobytes()).hexdigest() == digest


def test_no_sine_is_rounded_by_a_hair():
    """The last bit of a sine is 1e-12 of these units; none is that close to a half."""
    exact = 4096 * np.sin(2 * np.pi * np.arange(180) / 180)
    assert np.min(np.abs(np.abs(exact % 1) - 0.5)) > 1e-4


def test_factors_are_uniform_and_no_image_comes_twice():
    """Chi-square of each factor's counts over 10,000 draws: p above 0.001 for a fixed seed."""
    train, test = (
        _source(split).factors(np.arange(len(_source(split)))) for split in ("train", "test")
    )
    assert (train.shape, test.shape) == ((10_000, 6), (2_000, 6))
    for column, size in zip(train.T, sprites.FACTORS.values(), strict=True):
        counts = np.bincount(column, minlength=size)
        assert len(counts) == size
        assert stats.chisquare(counts).pvalue > 1e-3
    assert len(np.unique(np.concatenate([train, test]), axis=0)) == 12_000
    np.testing.assert_array_equal(_source().labels(np.array([5, 3])), train[[5, 3], 0])
    gray = _source(num_channels=1).factors(np.arange(50))
    np.testing.assert_array_equal(gray, train[:50, :5])


# Area of each shape, of circumscribed radius 1.
AREAS = {
    "square": 2,
    "ellipse": np.pi / np.sqrt(3),
    "triangle": 3 * np.sqrt(3) / 4,
    # A square of side 2a and two half discs of radius a, a = 95 / 128 / sqrt(2).
    "heart": (4 + np.pi) * (95 / 128) ** 2 / 2,
    # Ten triangles between the points and the corners of the inner pentagon.
    "star": 5 * np.sin(np.pi / 5) * np.cos(2 * np.pi / 5) / np.cos(np.pi / 5),
}


@pytest.mark.parametrize("shape", sprites.SHAPES)
def test_area_and_place(shape):
    """Area within 1.5% of the closed form for any orientation, and the right centre."""
    for scale, orientation, x, y in [(31, 0, 56, 56), (0, 17, 0, 111), (15, 130, 111, 3)]:
        ink = sprites.coverage(sprites.SHAPES.index(shape), scale, orientation, x, y) / 64
        radius = 10 + scale / 4
        assert ink.max() == 1
        np.testing.assert_allclose(ink.sum(), AREAS[shape] * radius**2, rtol=0.015)
        rows, columns = np.mgrid[:64, :64] + 0.5
        centre = [18 + x / 4, 18 + y / 4]
        if shape != "heart":  # the middle of a heart's box is not its centre of mass
            found = [(ink * axis).sum() / ink.sum() for axis in (columns, rows)]
            np.testing.assert_allclose(found, centre, atol=0.1)
        distance = np.hypot(columns - centre[0], rows - centre[1])
        assert ink[distance > radius + 0.8].sum() == 0


@pytest.mark.parametrize(("shape", "fold"), [*zip(sprites.SHAPES, (4, 2, 3, 1, 5), strict=True)])
def test_symmetry(shape, fold):
    """A turn by 360 / fold degrees changes nothing; half of that does."""
    index = sprites.SHAPES.index(shape)
    ink, same, other = (
        sprites.coverage(index, 20, 10 + turn, 56, 56)
        for turn in (0, (180 // fold) % 180, 90 // fold)
    )
    # Sines are rounded: a few samples of a few thousand pixels' edge may differ.
    assert np.abs(ink - same).sum() < 0.01 * ink.sum()
    assert np.abs(ink - other).sum() > 0.1 * ink.sum()


def test_colours():
    source = _source()
    for i in range(30):
        image, colour = source[i], sprites.PALETTE[source.factors([i])[0, 5]]
        flat = image.reshape(-1, 3)
        assert np.any(np.all(flat == colour, axis=1))
        np.testing.assert_array_equal(image[0, 0], sprites.GROUND)
        low, high = np.minimum(colour, sprites.GROUND), np.maximum(colour, sprites.GROUND)
        assert np.all((flat >= low) & (flat <= high))
    gray = _source(num_channels=1)[3]
    assert (gray.min(), gray.max()) == (0, 255)
    assert len(np.unique(gray)) > 10  # smooth edges


def test_as_a_data_set():
    config = base_config().data
    config.update({"name": "sprites", "num_examples": 90, "num_test": 40, "num_valid": 10})
    images, labels = data.load(config, "train"), data.load_labels(config, "train")
    assert images.shape == (90, 64, 64, 3)
    assert data.load(config, "test").shape == (40, 64, 64, 3)
    assert data.load(config, "valid").shape == (10, 64, 64, 3)
    source, indices = data.select(config, "train")
    np.testing.assert_array_equal(images[5], source[indices[5]])
    np.testing.assert_array_equal(labels, source.factors(indices)[:, 0])
    config.update({"name": "sprites_gray"})
    assert data.load(config, "train").shape == (90, 64, 64, 1)


def test_rendering_is_fast():
    """The best of 500 is under a millisecond, even on a busy machine."""
    source, times = _source(), []
    for i in range(500):
        start = time.perf_counter()
        source[i]
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3
