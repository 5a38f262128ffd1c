"""Crop, channels, resize and pad, one image at a time."""

import numpy as np
import pytest

from sfvae_jax import data
from sfvae_jax.config import base_config, validate
from sfvae_jax.data.geometry import Geometry
from sfvae_jax.errors import UsageError


def _image(height, width, channels=1, dtype=np.uint8):
    values = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    return values if dtype == np.uint8 else values.astype(dtype) / dtype(255)


def test_area_means():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1) * 4
    np.testing.assert_array_equal(Geometry(image_size=2).apply(image)[..., 0], [[10, 18], [42, 50]])
    assert np.array_equal(Geometry(image_size=4).apply(image), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_channel_is_resized_to_the_means_of_its_areas(channels, dtype):
    image = _image(12, 12, channels, dtype)
    means = image.reshape(4, 3, 4, 3, channels).mean(axis=(1, 3))
    resized = Geometry(image_size=4).apply(image)
    assert resized.dtype == dtype
    # Whole numbers are rounded along each axis in turn.
    np.testing.assert_allclose(resized, means, atol=1.0 if dtype == np.uint8 else 1e-6)


def test_the_crop_is_in_the_middle():
    """For CelebA, 140 of 218 x 178 pixels start at row 39 and column 19."""
    image = _image(218, 178, 3)
    cropped = Geometry(crop=140).apply(image)
    np.testing.assert_array_equal(cropped, image[39:179, 19:159])
    both = Geometry(crop=140, image_size=64)
    assert both.apply(image).shape == both.shape(image.shape) == (64, 64, 3)
    alone = Geometry(image_size=140).apply(cropped)
    np.testing.assert_array_equal(alone, cropped)


def test_images_that_are_not_square_are_cropped_before_they_are_resized():
    image = _image(6, 10)
    expected = Geometry(image_size=3).apply(image[:, 2:8])
    np.testing.assert_array_equal(Geometry(image_size=3).apply(image), expected)


def test_gray_is_luma_and_rgb_repeats_gray():
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    luma = [76, 150, 29, 255]  # 255 times 0.299, 0.587, 0.114, 1
    np.testing.assert_array_equal(Geometry(channels=1).apply(primaries)[0, :, 0], luma)
    floats = Geometry(channels=1).apply(primaries.astype(np.float32) / 255)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[0, :, 0], [0.299, 0.587, 0.114, 1], rtol=1e-6)
    image = _image(3, 4)
    rgb = Geometry(channels=3).apply(image)
    assert rgb.shape == (3, 4, 3)
    np.testing.assert_array_equal(rgb, np.broadcast_to(image, (3, 4, 3)))
    assert np.array_equal(Geometry(channels=1).apply(image), image)


def test_padding_with_zeros():
    """28 to 32 as in RAE puts two zeros on each side; an odd zero goes below and right."""
    image = _image(28, 28)
    padded = Geometry(pad_to=32).apply(image)
    assert padded.shape == (32, 32, 1)
    np.testing.assert_array_equal(padded[2:30, 2:30], image)
    assert padded.sum() == image.sum()
    odd = Geometry(pad_to=4).apply(np.ones((3, 2, 1), np.uint8))
    np.testing.assert_array_equal(odd[..., 0], [[0, 1, 1, 0]] * 3 + [[0, 0, 0, 0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [0, 1, 3])
@pytest.mark.parametrize("crop", [0, 5])
@pytest.mark.parametrize("image_size", [0, 4])
@pytest.mark.parametrize("pad_to", [0, 9])
def test_the_predicted_shape_is_the_actual_shape(crop, channels, image_size, pad_to, dtype):
    geometry = Geometry(crop, channels, image_size, pad_to)
    for image in (_image(6, 8, 1, dtype), _image(6, 8, 3, dtype)):
        treated = geometry.apply(image)
        assert treated.shape == geometry.shape(image.shape)
        assert treated.dtype == dtype


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({"crop": 9}, (8, 10, 1), "data.crop=9 is larger than .* 8x10"),
        ({"pad_to": 9}, (8, 10, 1), "data.pad_to=9 is smaller than .* 8x10"),
        ({"image_size": 8, "pad_to": 7}, (20, 20, 1), "data.pad_to=7 is smaller than .* 8x8"),
        ({"channels": 3}, (8, 8, 4), "requires images with 1 or 3 channels, but one has 4"),
        ({"image_size": 3}, (16,), r"require images of shape \[H, W, C\]; .* \(16,\)"),
        ({"pad_to": 9}, (8, 8), r"the examples have shape \(8, 8\)"),
    ],
)
def test_impossible_steps_are_refused(changes, shape, message):
    with pytest.raises(UsageError, match=message):
        Geometry(**changes).shape(shape)


def test_the_geometry_of_a_data_group():
    config = base_config().data
    config.update({"num_examples": 20, "crop": 20, "image_size": 10, "channels": 3, "pad_to": 12})
    images = data.load(config, "train")
    assert images.shape == (20, 12, 12, 3)
    config.update({"crop": 0, "image_size": 0, "channels": 0, "pad_to": 0})
    original = data.load(config, "train")
    geometry = Geometry(20, 3, 10, 12)
    np.testing.assert_array_equal(images, np.stack([geometry.apply(image) for image in original]))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("channels", 2, "data.channels must be 0, 1 or 3, got 2"),
        ("crop", -1, "data.crop must be a whole number from 0 to"),
        ("pad_to", -1, "data.pad_to must be a whole number from 0 to"),
        ("device_bytes", -1, "data.device_bytes must be a whole number from 0 to"),
    ],
)
def test_invalid_values_are_refused(key, value, message):
    config = base_config()
    config.data[key] = value
    with pytest.raises(UsageError, match=message):
        validate(config)
