"""Binarisation and resizing."""

import jax
import jax.numpy as jnp
import numpy as np

from sfvae_jax import data
from sfvae_jax.config import base_config


def test_pixels_are_drawn_with_their_gray_level_as_probability():
    """With 40,000 draws per level, 4 standard errors are at most 0.01."""
    levels = np.array([0, 51, 128, 255], np.uint8)
    images = np.broadcast_to(levels, (40_000, 4))
    drawn = data.binarize_once(images, seed=0)
    assert set(np.unique(drawn)) == {0, 255}
    np.testing.assert_allclose(drawn.mean(axis=0) / 255, levels / 255, atol=0.01)
    assert np.all(drawn[:, 0] == 0)
    assert np.all(drawn[:, 3] == 255)
    np.testing.assert_array_equal(drawn, data.binarize_once(images, seed=0))
    assert np.any(drawn != data.binarize_once(images, seed=1))
    floats = data.binarize_once(np.broadcast_to(np.float32(levels / 255), (40_000, 4)), seed=0)
    np.testing.assert_allclose(floats.mean(axis=0) / 255, levels / 255, atol=0.01)


def test_dynamic_binarisation_depends_on_the_key():
    x = jnp.array([0.0, 0.2, 0.5, 1.0])
    draws = jax.vmap(lambda key: data.binarize_now(key, x))(
        jax.random.split(jax.random.key(0), 40_000)
    )
    assert set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_allclose(draws.mean(axis=0), x, atol=0.01)


def _group(**changes):
    config = base_config().data
    config.update({"num_examples": 30, "num_valid": 10, **changes})
    return config


def test_static_and_dynamic_splits():
    grey = data.load(_group(), "train")
    static = data.load(_group(binarization="static"), "train")
    assert set(np.unique(static)) == {0, 255}
    np.testing.assert_array_equal(static[grey == 0], 0)
    np.testing.assert_array_equal(static[grey == 255], 255)
    dynamic = _group(binarization="dynamic")
    np.testing.assert_array_equal(data.load(dynamic, "train"), grey)
    np.testing.assert_array_equal(data.load(dynamic, "train", for_evaluation=True), static)


def test_labels_go_with_their_images():
    """4,000 random digits have all classes, and the mean ink of each label differs."""
    config = _group(num_examples=4000)
    images, labels = data.load(config, "train"), data.load_labels(config, "train")
    assert labels.shape == (4000,)
    assert set(np.unique(labels)) == set(range(10))
    ink = images.reshape(4000, -1).mean(axis=1)
    assert ink[labels == 1].mean() < 0.6 * ink[labels == 0].mean()
    held_out = data.load_labels(_group(), "valid")
    np.testing.assert_array_equal(held_out, data.load_labels(_group(), "valid"))
    assert held_out.shape == (10,)


def test_the_static_draw_of_an_image_depends_only_on_its_position():
    """The noise is one stream of doubles over the whole set, wherever reading starts."""
    images = np.random.default_rng(0).integers(0, 256, (9, 5, 3), np.uint8)
    noise = np.random.default_rng([4, 2]).random((9, 5, 3))
    whole = np.where(noise * 255 < images, 255, 0)
    np.testing.assert_array_equal(data.binarize_once(images, [4, 2]), whole)
    some = [7, 2, 3, 8, 0, 0]
    np.testing.assert_array_equal(data.binarize_once(images[some], [4, 2], some), whole[some])
    lazy = data.open_examples(_group(binarization="static"), "train")
    np.testing.assert_array_equal(lazy[[20, 3]], lazy.all()[[20, 3]])
