"""Prepared images are kept in the user's cache folder, and never served where they are wrong."""

import numpy as np
import pytest
from helpers import largest_file

from sfvae_jax.data import kept_images as kept
from sfvae_jax.data.geometry import Geometry
from sfvae_jax.data.source import ArraySplit
from sfvae_jax.data.stored_examples import StoredExamples

SHAPE = (40, 4, 4, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


class SlowSplit(ArraySplit):
    """Counts the images that are read."""

    def __init__(self, images=IMAGES, key=b"digits"):
        super().__init__(images)
        self.num_read, self._key = 0, key

    def __getitem__(self, index):
        self.num_read += 1
        return super().__getitem__(index)

    def kept_under(self):
        return self._key


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
    for number in (40, 16):  # then only those that are compared
        found, prepared = _read(split)
        np.testing.assert_array_equal(found, IMAGES)
        assert prepared == number
    (file,) = files()
    assert file.stat().st_size < IMAGES.nbytes + 200
    # Another choice, of at least half of them, needs no file of its own.
    found, prepared = _read(split, slice(39, 4, -1))
    np.testing.assert_array_equal(found, IMAGES[39:4:-1])
    assert prepared == 16
    assert files() == [file]


def test_few_images_are_read_one_by_one(files):
    found, prepared = _read(SlowSplit(), slice(3, 22))
    np.testing.assert_array_equal(found, IMAGES[3:22])
    assert prepared == 19
    assert files() == []


def test_each_geometry_and_key_has_its_own(files):
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for changes, expected in (({"pad_to": 6}, padded), ({}, IMAGES)):
        for number in (40, 16):
            found, prepared = _read(SlowSplit(), **changes)
            np.testing.assert_array_equal(found, expected)
            assert prepared == number
    assert _read(SlowSplit(key=b"other digits"))[1] == 40
    assert len(files()) == 3


def test_floats_are_kept_to_the_bit(files):
    images = (IMAGES / 255).astype(np.float32)
    for number in (40, 16):
        found, prepared = _read(SlowSplit(images))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, images)
        assert prepared == number


def test_binarised_pixels_do_not_depend_on_what_is_kept(files):
    pixels = [
        StoredExamples(SlowSplit(), np.arange(40), SHAPE[1:], Geometry(), (3, 1))[:]
        for _ in range(2)
    ]
    assert len(files()) == 1
    np.testing.assert_array_equal(*pixels)
    few = StoredExamples(SlowSplit(key=b""), np.arange(40), SHAPE[1:], Geometry(), (3, 1))
    np.testing.assert_array_equal(few[:], pixels[0])


def test_images_that_changed_under_the_same_key_are_prepared_again(files):
    """As by another version of a decoder."""
    _read(SlowSplit())
    for number in (16 + 40, 16):
        found, prepared = _read(SlowSplit(255 - IMAGES))
        np.testing.assert_array_equal(found, 255 - IMAGES)
        assert prepared == number
    assert len(files()) == 1


def _flip(file):
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "a bit": _flip,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-7]),
    "empty": lambda file: file.write_bytes(b""),
    "no array": lambda file: file.write_bytes(b"no array" * 99),
    "objects": lambda file: np.save(file, np.array([{}]), allow_pickle=True),
    "another array": lambda file: np.save(file, IMAGES),
    "an archive": lambda file: np.savez(file.open("wb"), images=IMAGES),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_written_anew(kind, files):
    _read(SlowSplit())
    (file,) = files()
    DAMAGE[kind](file)
    for number in (40, 16):
        found, prepared = _read(SlowSplit())
        np.testing.assert_array_equal(found, IMAGES)
        assert prepared == number
    assert files() == [file]


def test_large_sets_are_not_kept(files, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", IMAGES.nbytes - 1)
    assert [_read(SlowSplit())[1] for _ in range(2)] == [40, 40]
    assert files() == []
    monkeypatch.setattr(kept, "MOST_BYTES", IMAGES.nbytes)
    assert [_read(SlowSplit())[1] for _ in range(2)] == [40, 16]


def test_a_cache_that_cannot_be_written(own_cache, monkeypatch, caplog):
    own_cache.parent.joinpath("file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache.parent / "file"))
    with caplog.at_level("INFO", "sfvae_jax"):
        np.testing.assert_array_equal(_read(SlowSplit())[0], IMAGES)
    assert "prepared images are not kept: cannot write to" in caplog.text


def test_a_full_disk(files, caplog):
    """Nothing half-written is left."""
    with largest_file(100), caplog.at_level("INFO", "sfvae_jax"):
        np.testing.assert_array_equal(_read(SlowSplit())[0], IMAGES)
    assert "prepared images are not kept: cannot write" in caplog.text
    assert files() == []
