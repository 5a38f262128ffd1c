"""Prepared images are kept in the user's cache folder, and never served where they are wrong."""

import threading

import numpy as np
import pytest
from helpers import largest_file

from sfvae_jax.data import kept_images as kept
from sfvae_jax.data.geometry import Geometry
from sfvae_jax.data.source import ArraySplit
from sfvae_jax.data.stored_examples import StoredExamples
from sfvae_jax.errors import UsageError

SHAPE = (200, 4, 4, 1)  # which several threads read
IMAGES = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


class SlowSplit(ArraySplit):
    """Counts the images that are read."""

    def __init__(self, images=IMAGES, place="digits", state="", damaged=None):
        super().__init__(images)
        self.num_read, self._lock = 0, threading.Lock()
        self._origin, self._damaged = place and kept.Origin(place, state), damaged

    def __getitem__(self, index):
        with self._lock:
            self.num_read += 1
        if index == self._damaged:
            raise UsageError(f"image {index} is damaged")
        return super().__getitem__(index)

    def origin(self):
        return self._origin or None


def _read(split, indices=slice(None), **changes):
    """Opens a split and reads images: the images, and how many had to be prepared."""
    geometry = Geometry(**changes)
    shape = geometry.shape(IMAGES.shape[1:])
    begun = split.num_read
    found = StoredExamples(split, np.arange(len(split))[indices], shape, geometry)[:]
    return found, split.num_read - begun


@pytest.fixture
def files(own_cache):
    """Returns the cache files."""
    return lambda: sorted((own_cache / "sfvae_jax" / "images").glob("*"))


def test_images_are_prepared_once(files):
    split = SlowSplit()
    for number in (200, 16):  # then only those that are compared
        found, prepared = _read(split)
        np.testing.assert_array_equal(found, IMAGES)
        assert prepared == number
    (file,) = files()
    assert file.stat().st_size == IMAGES.nbytes + 32
    # Another choice, of at least half of them, needs no file of its own.
    found, prepared = _read(split, slice(199, 99, -1))
    np.testing.assert_array_equal(found, IMAGES[199:99:-1])
    assert prepared == 16
    assert files() == [file]


def test_less_than_half_of_a_split_is_not_kept(files):
    found, prepared = _read(SlowSplit(), slice(3, 102))
    np.testing.assert_array_equal(found, IMAGES[3:102])
    assert prepared == 99
    assert files() == []


def test_a_damaged_image_that_is_not_asked_for_stops_nothing(files, caplog):
    with caplog.at_level("INFO", "sfvae_jax"):
        found, _ = _read(SlowSplit(damaged=3), slice(50, 200))
    np.testing.assert_array_equal(found, IMAGES[50:])
    assert files() == []
    assert caplog.messages == ["prepared images are not kept: image 3 is damaged"]
    with pytest.raises(UsageError, match="image 3 is damaged"):
        _read(SlowSplit(damaged=3))


def test_each_geometry_and_place_has_its_own(files):
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for changes, expected in (({"pad_to": 6}, padded), ({}, IMAGES)):
        for number in (200, 16):
            found, prepared = _read(SlowSplit(), **changes)
            np.testing.assert_array_equal(found, expected)
            assert prepared == number
    assert _read(SlowSplit(place="other digits"))[1] == 200
    assert len(files()) == 3


def test_images_of_another_state_replace_those_before(files):
    changed = IMAGES.copy()
    changed[1] = 0  # which is not compared
    for state, images, number in (("1", IMAGES, 200), ("2", changed, 200), ("2", changed, 16)):
        found, prepared = _read(SlowSplit(images, state=state))
        np.testing.assert_array_equal(found, images)
        assert prepared == number
    assert len(files()) == 1


def test_floats_are_kept_to_the_bit(files):
    images = (IMAGES / 255).astype(np.float32)
    for number in (200, 16):
        found, prepared = _read(SlowSplit(images))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, images)
        assert prepared == number


def test_binarised_pixels_do_not_depend_on_what_is_kept(files):
    pixels = [
        StoredExamples(SlowSplit(), np.arange(200), SHAPE[1:], Geometry(), (3, 1))[:]
        for _ in range(2)
    ]
    assert len(files()) == 1
    np.testing.assert_array_equal(*pixels)
    anew = StoredExamples(SlowSplit(place=""), np.arange(200), SHAPE[1:], Geometry(), (3, 1))
    np.testing.assert_array_equal(anew[:], pixels[0])


def test_images_that_changed_in_the_same_state_are_prepared_again(files):
    """As by another decoder."""
    _read(SlowSplit())
    for number in (16 + 200, 16):
        found, prepared = _read(SlowSplit(255 - IMAGES))
        np.testing.assert_array_equal(found, 255 - IMAGES)
        assert prepared == number
    assert len(files()) == 1


def _flip(place):
    def flip(file):
        content = bytearray(file.read_bytes())
        content[place] ^= 1
        file.write_bytes(content)

    return flip


DAMAGE = {
    "a bit of the digest": _flip(3),
    "a bit of the images": _flip(-100),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-7]),
    "too long": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_written_anew(kind, files):
    _read(SlowSplit())
    (file,) = files()
    DAMAGE[kind](file)
    for number in (200, 16):
        found, prepared = _read(SlowSplit())
        np.testing.assert_array_equal(found, IMAGES)
        assert prepared == number
    assert files() == [file]


def test_large_sets_are_not_kept(files, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", IMAGES.nbytes - 1)
    assert [_read(SlowSplit())[1] for _ in range(2)] == [200, 200]
    assert files() == []
    monkeypatch.setattr(kept, "MOST_BYTES", IMAGES.nbytes)
    assert [_read(SlowSplit())[1] for _ in range(2)] == [200, 16]


def test_a_cache_that_cannot_be_written(own_cache, monkeypatch, caplog):
    own_cache.parent.joinpath("file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache.parent / "file"))
    with caplog.at_level("INFO", "sfvae_jax"):
        np.testing.assert_array_equal(_read(SlowSplit())[0], IMAGES)
    assert "prepared images are not kept: cannot write to" in caplog.text


@pytest.mark.parametrize("size", [20, 300, IMAGES.nbytes + 31])
def test_a_full_disk(files, caplog, size):
    """Nothing half-written is left, and the reason is told."""
    images = StoredExamples(SlowSplit(), np.arange(200), SHAPE[1:], Geometry())
    with largest_file(size), caplog.at_level("INFO", "sfvae_jax"):
        np.testing.assert_array_equal(images[:], IMAGES)
    (message,) = caplog.messages
    assert message.startswith("prepared images are not kept: cannot write ")
    assert message.endswith(": File too large")
    assert files() == []


def test_a_file_that_cannot_be_replaced(files, caplog):
    _read(SlowSplit())
    (file,) = files()
    file.unlink()
    file.mkdir()
    with caplog.at_level("INFO", "sfvae_jax"):
        np.testing.assert_array_equal(_read(SlowSplit())[0], IMAGES)
    assert f"prepared images are not kept: cannot write {file}: Is a directory" in caplog.text
    assert files() == [file]
