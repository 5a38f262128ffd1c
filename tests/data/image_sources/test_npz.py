"""A user's own arrays: scale, labels, and the ways in which a file can be wrong."""

import os
import zipfile

import numpy as np
import pytest
from damage import mutated

from sfvae_jax import data
from sfvae_jax.config import base_config
from sfvae_jax.data.image_sources.npz import open_npz
from sfvae_jax.errors import UsageError


def group(name, **changes):
    config = base_config().data
    config.update({"name": name, **changes})
    return config


def save(path, **arrays):
    np.savez(path, **arrays)
    return group(f"npz:{path}")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.npz"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([[0, 255], [51, 102]], np.uint8), [[0, 1], [0.2, 0.4]]),
        (np.array([[0, 255], [51, 102]], np.int64), [[0, 1], [0.2, 0.4]]),
        (np.array([[0.0, 1.0], [0.25, 0.5]]), [[0, 1], [0.25, 0.5]]),
        (np.array([[False, True], [True, True]]), [[0, 1], [1, 1]]),
        (np.array([[0, 1], [1, 1]], np.uint8), [[0, 1], [1, 1]]),
        (np.array([[0, 1], [1, 1]], np.int32), [[0, 1], [1, 1]]),
    ],
)
def test_npz_pixels_come_out_in_the_unit_interval(path, stored, expected):
    config = save(path, x_train=stored, x_test=stored[:1])
    train, test = (
        np.asarray(data.to_unit_interval(data.load(config, p))) for p in ("train", "test")
    )
    assert train.dtype == np.float32
    np.testing.assert_allclose(np.sort(train, axis=0), np.sort(expected, axis=0), rtol=1e-6)
    np.testing.assert_allclose(test, expected[:1], rtol=1e-6)


def test_npz_scale_is_decided_once_for_all_splits(path, caplog):
    """A test split that happens to hold only 0 and 1 is not stretched to 0 and 255."""
    levels = np.array([[0, 1, 2, 3]] * 3, np.uint8)
    for train, test in ((levels, levels % 2), (levels % 2, levels)):
        config = save(path, x_train=train, x_test=test.astype(np.int64))
        with caplog.at_level("INFO", logger="sfvae_jax"):
            np.testing.assert_array_equal(data.load(config, "train"), train)
            np.testing.assert_array_equal(data.load(config, "test"), test)
        assert "x_train, x_test: whole numbers from 0 to 3, read as levels of 0..255" in caplog.text
        assert "nearly black: their largest value is 3 of 255" in caplog.text
        caplog.clear()
    config = save(path, x_train=levels % 2, x_test=levels > 1, x_valid=levels / 3.0)
    with caplog.at_level("INFO", logger="sfvae_jax"):
        for split in ("train", "test"):
            np.testing.assert_array_equal(np.unique(data.load(config, split)), [0, 255])
    assert caplog.messages == [
        f"{path}: x_test: booleans, read as True = white; x_train: whole numbers from 0 to 1,"
        " read as 0 = black and 1 = white; x_valid: floats from 0 to 1, read as levels of [0, 1]"
    ]


@pytest.mark.parametrize(
    ("shape", "is_told"), [((2, 3, 8, 9), True), ((2, 8, 9, 3), False), ((2, 3, 8, 2), False)]
)
def test_channels_that_seem_to_come_first_are_told(path, caplog, shape, is_told):
    with caplog.at_level("INFO", logger="sfvae_jax"):
        assert data.load(save(path, x_train=np.zeros(shape)), "train").shape == shape
    assert ("If its channels come first" in caplog.text) == is_told


def test_npz_floats_beyond_one_by_rounding_are_cut_off(path):
    ramp = np.linspace(0, 1, 12).reshape(3, 4)
    for dtype, over in ((np.float32, 2e-7), (np.float64, 9e-6), (np.float16, 1e-3)):
        images = ramp.astype(dtype)
        images[2, 3] += dtype(over)
        images[0, 0] -= dtype(over)
        assert images.max() > 1
        found = data.load(save(path, x_train=images, x_test=images), "train")
        assert (found.dtype, found.min(), found.max()) == (np.float32, 0, 1)
        np.testing.assert_allclose(np.sort(found, axis=None), ramp.ravel(), atol=1e-3)
    images = np.float32(ramp)
    images[2, 3] = 1 + 2e-5
    with pytest.raises(UsageError, match=r"values from 0 to 1.00002003; expected floats in \[0, 1"):
        data.load(save(path, x_train=images, x_test=images), "train")


def test_one_array_is_enough_if_images_are_held_out(path):
    images = np.arange(60, dtype=np.uint8).reshape(20, 3)
    config = save(path, x_train=images)
    with pytest.raises(UsageError, match=r"no test split of its own; .*num_test=N, or measure on"):
        data.load(config, "test")
    config.num_test = 6
    parts = [data.load(config, part) for part in ("train", "test")]
    assert [len(part) for part in parts] == [14, 6]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts), axis=0), images)


ZEROS = np.zeros((3, 4))
BOTH = {"x_train": ZEROS, "x_test": ZEROS}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": ZEROS}, "must hold an array x_train, and may hold .*; it holds images"),
        ({"x_test": ZEROS}, "must hold an array x_train, and may hold .*; it holds x_test"),
        ({"x_train": ZEROS, "x_test": np.zeros((3, 5))}, r"of different shapes: \(4,\) and \(5,\)"),
        ({"x_train": np.zeros(3), "x_test": np.zeros(3)}, r"has shape \(3,\); expected \[N, ...\]"),
        ({"x_train": np.zeros((0, 4)), "x_test": ZEROS}, "not empty"),
        ({"x_train": ZEROS * np.nan, "x_test": ZEROS}, "x_train of .* not finite"),
        ({"x_train": ZEROS, "x_test": ZEROS + np.inf}, "x_test of .* not finite"),
        (
            {"x_train": ZEROS + 2.0, "x_test": ZEROS},
            r"values from 2 to 2; expected floats in \[0, 1\]",
        ),
        ({"x_train": np.full((3, 4), 256), "x_test": ZEROS}, r"expected whole numbers in 0..255"),
        ({"x_train": np.full((3, 4), "a"), "x_test": ZEROS}, "expected numbers"),
        ({"x_train": np.full((3, 4), None), "x_test": ZEROS}, "only unpickling could read"),
        ({**BOTH, "x_valid": np.zeros((3, 5))}, r"x_train and x_valid of .* different shapes"),
        (
            {"x_train": ZEROS.astype("m8[s]"), "x_test": ZEROS},
            r"holds '<m8\[s\]'; expected numbers",
        ),
        ({"x_train": ZEROS + 1j, "x_test": ZEROS}, "holds '<c16'; expected numbers"),
        ({"x_train": ZEROS.astype("f4,f4"), "x_test": ZEROS}, "expected numbers"),
        ({**BOTH, "y_train": np.zeros(2, int)}, r"y_train of .* int64 and shape \(2,\); exp"),
        ({**BOTH, "y_test": np.zeros(3)}, r"y_test of .* type float64 and shape \(3,\)"),
    ],
)
def test_bad_npz_is_refused(path, arrays, message):
    with pytest.raises(UsageError, match=message) as caught:
        data.load(save(path, **arrays), "train")
    assert "\n" not in str(caught.value)


def test_npz_labels_and_a_valid_split(path):
    """Label i belongs to image i, also if the labels have the shape [N, 1]."""
    images = np.arange(40, dtype=np.float32).reshape(20, 2) / 40
    labels = np.arange(20) * 2
    arrays = {"x_train": images, "x_test": images[:5], "x_valid": images[5:9]}
    config = save(path, **arrays, y_train=labels[:, None], y_valid=labels[5:9].astype(np.uint8))
    for split, number in (("train", 20), ("valid", 4)):
        found = data.load_labels(config, split)
        assert found.shape == (number,)
        np.testing.assert_allclose(data.load(config, split)[:, 0] * 40, found, rtol=1e-6)
    assert data.load_labels(config, "test") is None


def test_a_pickled_object_is_never_loaded(path, tmp_path):
    """Unpickling it would write a file, which must not appear."""
    trace = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    bomb = np.empty(1, object)
    bomb[0] = Bomb()
    with pytest.raises(UsageError, match="only unpickling could read"):
        data.load(save(path, x_train=bomb, x_test=ZEROS), "train")
    assert not trace.exists()


def test_files_that_are_not_npz(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        data.load(group(f"npz:{tmp_path}/none.npz"), "train")
    text = tmp_path / "text.npz"
    text.write_text("not an archive")
    with pytest.raises(UsageError, match="cannot read"):
        data.load(group(f"npz:{text}"), "train")
    np.save(tmp_path / "bare.npy", ZEROS)
    with pytest.raises(UsageError, match="it is not an .npz archive"):
        data.load(group(f"npz:{tmp_path}/bare.npy"), "train")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("x_train", b"raw")
        archive.writestr("x_test", b"raw")
    with pytest.raises(UsageError, match="other.npz"):
        data.load(group(f"npz:{tmp_path}/other.npz"), "train")
    truncated = tmp_path / "cut.npz"
    np.savez(truncated, x_train=ZEROS, x_test=ZEROS)
    truncated.write_bytes(truncated.read_bytes()[:-40])
    with pytest.raises(UsageError, match="cannot read"):
        data.load(group(f"npz:{truncated}"), "train")


def bare(header, content=b""):
    """An array in the format of NumPy with an arbitrary header."""
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def described(shape, descr="'|u1'", fortran_order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}"


def zipped(path, content, name="x_train.npy", method=zipfile.ZIP_STORED):
    """An archive with one array that NumPy has written and one that it has not."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)
        archive.writestr("x_test.npy", bare(described("(2, 2)"), b"0123"))
    return group(f"npz:{path}")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (described("(2, 2"), "cannot read .*: x_train: "),
        (described("(" * 400), "cannot read .*: x_train: "),
        ("-" * 900, "cannot read .*: x_train: "),
        (described("(2, 2)") + " " * 60_000, "header of .* bytes is too long"),
        (described("(1099511627776, 1024)"), "states 1125899906842624 bytes .*, but there are 4"),
        (described("(4611686018427387904, 4)"), "no array has shape"),
        (described("(-2, -2)"), "no array has shape"),
        (described("(True, 4)"), "no array has shape"),
        (described("(2.0, 2)"), "no array has shape"),
        (described("[2, 2]"), "no array has shape"),
        (described((1,) * 40), "no array has shape"),
        (described("(2, 2)", fortran_order="0"), "no array has shape"),
        (described("(2, 2)", descr="'|O'"), "only unpickling could read"),
        (described("(2, 2)", descr="'<m8[s]'"), "expected numbers"),
        (described("(2, 2)", descr="'no type'"), "cannot read .*: x_train: "),
        (described("(2, 2)", descr="[('a', '|u1')]"), "expected numbers"),
        ("{'shape': (2, 2)}", "does not state type, order and shape"),
        ("7", "does not state type, order and shape"),
        (described("(3, 1)"), "states 3 bytes .*, but there are 4"),
    ],
)
def test_wrong_headers_are_refused_in_one_line(path, header, message):
    with pytest.raises(UsageError, match=message) as caught:
        data.load(zipped(path, bare(header, b"0123")), "train")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_arrays_of_other_orders_and_versions_are_read(path):
    content = bare(described("(2, 2)", fortran_order="True"), bytes([2, 3, 4, 5]))
    longer = content.replace(b"\x01\x00", b"\x02\x00", 1)
    longer = longer[:10] + b"\x00\x00" + longer[10:]
    for array in (content, longer):
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
            split = data.open_source(zipped(path, array, method=method))["train"]
            np.testing.assert_array_equal([split[0], split[1]], [[2, 4], [3, 5]])


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_in_compressed_data_is_reported(path, method):
    noise = np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes()
    config = zipped(path, bare(described("(2000, 2)"), noise), method=method)
    whole = path.read_bytes()
    for place in (45, 150, 2000):
        path.write_bytes(whole[:place] + b"\xff" * 9 + whole[place + 9 :])
        with pytest.raises(UsageError, match="cannot read") as caught:
            data.load(config, "train")
        assert "\n" not in str(caught.value)


def test_what_does_not_fit_in_memory_is_refused_before_it_is_read(path, monkeypatch):
    """The headers tell: 2 GiB of zeros are 2 MB in the file."""
    size = 2**20

    def read(*arguments):
        raise AssertionError

    monkeypatch.setattr("sfvae_jax.data.archive.Archive.read", read)
    save(path, x_train=np.zeros((4, size // 4), np.float32), x_test=np.zeros((1, size // 4)))
    config = group(f"npz:{path}")
    with monkeypatch.context() as patch:
        patch.setattr("sfvae_jax.data.image_sources.npz.host_memory", lambda: 10 * size)
        with pytest.raises(UsageError, match=r"take 0.0 GiB, more than memory can hold; use"):
            data.load(config, "train")
    monkeypatch.setattr("sfvae_jax.data.stored_examples.MAX_BYTES", 4 * size)
    with pytest.raises(UsageError, match="more than memory can hold"):
        data.load(config, "train")


def test_what_is_not_a_file_is_refused_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for given, says in (
        (tmp_path / "pipe", "is a named pipe; expected a regular file"),
        ("/dev/zero", "is a device"),
        ("gs://bucket/arrays.npz", "is a URL"),
        ("~no-such-user-here/arrays.npz", "is not a usable path"),
        ("", "is empty"),
    ):
        with pytest.raises(UsageError, match=f"data.name=npz:.*{says}"):
            data.load(group(f"npz:{given}"), "train")


# ---- any damage ----


@pytest.mark.parametrize(
    ("method", "inside"),
    [
        (zipfile.ZIP_STORED, True),
        (zipfile.ZIP_STORED, False),
        (zipfile.ZIP_DEFLATED, False),
        (zipfile.ZIP_LZMA, False),
    ],
)
def test_any_damage_is_a_usage_error(path, method, inside):
    """Damage of the archive, or of an array in a whole archive."""
    rng = np.random.default_rng([method, inside])
    array = bare(described("(3, 4)", descr="'<f4'"), rng.random(12).astype("<f4").tobytes())
    zipped(path, array, method=method)
    whole, refused = path.read_bytes(), []
    for _ in range(500):
        if inside:
            zipped(path, mutated(array, rng), method=method)
        else:
            path.write_bytes(mutated(whole, rng))
        try:
            open_npz(path)
        except UsageError as error:
            refused.append(str(error))
    assert len(refused) > 300
    assert max(map(len, refused)) < 1000
    assert "\n" not in "".join(refused)
