"""Streamed batches follow the order, and no more is read ahead than promised."""

import os
import threading
import time

import jax
import numpy as np
import pytest
from helpers import HANG

from sfvae_jax import data
from sfvae_jax.config import base_config
from sfvae_jax.data.geometry import Geometry
from sfvae_jax.data.source import SourceSplit
from sfvae_jax.data.stored_examples import StoredExamples
from sfvae_jax.errors import UsageError


class CountedSplit(SourceSplit):
    """Images whose pixels are their index; counts how many have been read."""

    example_shapes = frozenset([(2, 2, 1)])
    dtype = np.dtype(np.uint8)

    def __init__(self, broken=()):
        self.num_read, self._broken, self._lock = 0, broken, threading.Lock()

    def __len__(self):
        return 200

    def __getitem__(self, index):
        with self._lock:
            self.num_read += 1
        if index in self._broken:
            raise UsageError(f"image {index} is broken")
        return np.full((2, 2, 1), index, np.uint8)


def _images(split, number=10, **changes):
    return StoredExamples(split, np.arange(number)[::-1], (2, 2, 1), Geometry(**changes))


@pytest.mark.parametrize("start", [0, 3, 11])
def test_the_batches_are_those_of_the_order(start):
    """Ten images in batches of four: calls of unequal length, across epochs, from any step."""
    images = _images(CountedSplit())
    ends = [end for end in (3, 4, 9, 11, 12) if end > start]
    plan = data.BatchOrder(7, 10, 4)
    streamed = list(data.example_batches(images, plan, start, ends, last=12, longest=5))
    indices = list(data.index_batches(plan, start, ends))
    order = data.batch_indices(7, 10, 4, 0, 12)
    np.testing.assert_array_equal(np.concatenate(indices), order[start:])
    for found, expected in zip(streamed, indices, strict=True):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found[..., 0, 0, 0], 9 - expected)


def test_nothing_left_to_do():
    images, order = _images(CountedSplit()), data.BatchOrder(0, 10, 4)
    assert list(data.example_batches(images, order, 5, [], last=5, longest=1)) == []


def test_no_more_is_read_ahead_than_the_next_call():
    """50 calls of three steps of four images: after one, only the batches of a second."""
    split = CountedSplit()
    ends, order = range(3, 150, 3), data.BatchOrder(0, 200, 4)
    batches = data.example_batches(_images(split, 200), order, 0, ends, last=150, longest=3)
    assert split.num_read == 0
    next(batches)
    ahead = max(3, min(os.cpu_count(), 16))  # batches of a call, or one for each thread
    deadline = time.monotonic() + HANG
    while split.num_read < 4 * (3 + ahead) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # so that too many would be read
    # Grain itself may hold one batch more between its threads and the caller.
    assert 4 * (3 + ahead) <= split.num_read <= 4 * (3 + ahead + 1)
    batches.close()
    read = split.num_read
    time.sleep(0.2)
    assert split.num_read == read


def test_an_image_that_cannot_be_read_ends_the_stream_with_its_error():
    images, order = _images(CountedSplit(broken={4})), data.BatchOrder(0, 10, 4)
    batches = data.example_batches(images, order, 0, [3], last=3, longest=3)
    with pytest.raises(UsageError, match="image 4 is broken"):
        next(batches)


def test_images_read_by_many_threads_are_in_order():
    images = StoredExamples(CountedSplit(), np.arange(200)[::-1], (2, 2, 1), Geometry())
    np.testing.assert_array_equal(images.all()[:, 0, 0, 0], np.arange(200)[::-1])
    np.testing.assert_array_equal(images[50:60][:, 0, 0, 0], np.arange(140, 150)[::-1])
    np.testing.assert_array_equal(images[np.array([3, 3, 0])][:, 0, 0, 0], [196, 196, 199])
    assert (len(images), images.shape, images.nbytes) == (200, (200, 2, 2, 1), 800)


def _group(**changes):
    config = base_config().data
    config.update(changes)
    return config


def test_what_streams(monkeypatch):
    """By data.device_bytes; else a quarter of the device's memory, or 4 GiB; never above what the
    host may hold."""
    images = _images(CountedSplit(), pad_to=0)  # 40 bytes
    assert data.fits_on_device(_group(device_bytes=40), images)
    assert not data.fits_on_device(_group(device_bytes=39), images)
    assert data.fits_on_device(_group(), images)

    class Device:
        def memory_stats(self):
            return {"bytes_limit": self.limit}

    device = Device()
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    for limit, fits in ((160, True), (159, False)):
        device.limit = limit
        assert data.fits_on_device(_group(), images) == fits
        assert data.fits_on_device(_group(), images, num_parts=2)
    assert not data.fits_on_device(_group(device_bytes=39), images, num_parts=2)
    device.limit = 10**12
    monkeypatch.setattr("sfvae_jax.data.stored_examples.MAX_BYTES", 39)
    assert not data.fits_on_device(_group(), images)


def test_the_preprocessed_size_counts():
    """Floats of 28 x 28 pixels resized to 7 x 7 take a sixteenth."""
    large = data.open_examples(_group(num_examples=100), "train")
    small = data.open_examples(_group(num_examples=100, image_size=7), "train")
    assert (large.nbytes, small.nbytes) == (78_400, 4_900)
