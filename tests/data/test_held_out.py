"""What is held out depends on what each example is, not on the other examples."""

import json
import os
import shutil
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sfvae_jax import data
from sfvae_jax.config import base_config
from sfvae_jax.data import held_out
from sfvae_jax.errors import UsageError

pytestmark = pytest.mark.usefixtures("own_cache")
HELD_OUT = {"num_test": 5, "num_valid": 4}


def group(name, **changes):
    config = base_config().data
    config.update({"name": name, **changes})
    return config


def write_folder(path, numbers):
    path.mkdir(exist_ok=True)
    for number in numbers:
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(path / f"{number}.png")
    return f"folder:{path}"


def write_npz(path, numbers):
    images = np.repeat(np.array(numbers, np.uint8)[:, None], 4, axis=1)
    np.savez(path / "a.npz", x_train=images, x_test=images[:6])
    return f"npz:{path}/a.npz"


def write_equations(path, numbers):
    lines = ["+".join("123"[number // 3**place % 3] for place in range(4)) for number in numbers]
    (path / "a.txt").write_text("\n".join(lines))
    return f"equations:{path}/a.txt"


def write_architectures(path, numbers):
    lines = [json.dumps([["a", number / 100], ["b", 0.5]]) for number in numbers]
    (path / "a.json").write_text("\n".join(lines))
    return f"architectures:{path}/a.json"


WRITERS = [write_folder, write_npz, write_equations, write_architectures]


def numbers_of(name, split, seed=0):
    """A number or text that identifies each example of a split, in order."""
    images = data.load(group(name, **HELD_OUT, seed=seed), split)
    return [image.tobytes() for image in images]


@pytest.mark.parametrize("write", WRITERS)
def test_more_examples_never_bring_training_examples_into_the_held_out_splits(tmp_path, write):
    numbers = [*range(2, 42)]
    name = write(tmp_path, numbers)
    splits = ("valid",) if write is write_npz else ("test", "valid")
    before = {split: numbers_of(name, split) for split in ("train", *splits)}
    assert len(before["valid"]) == 4
    assert len(set.union(*map(set, before.values()))) == 40
    assert numbers_of(name, "valid", seed=1) != before["valid"]

    write(tmp_path, [50, *reversed(numbers), 51, 52, 53])
    after = {split: numbers_of(name, split) for split in ("train", *splits)}
    for split in splits:
        assert len(after[split]) == len(before[split])
        assert not {*after[split]} & {*before["train"]}
        assert len({*before[split]} - {*after[split]}) <= 4
    if write is not write_folder:
        write(tmp_path, numbers[::-1])
        assert {split: numbers_of(name, split) for split in ("train", *splits)} == before


def test_copies_are_never_separated(tmp_path):
    for copies in (1, 3):
        name = write_equations(tmp_path, [number for number in range(20) for _ in range(copies)])
        splits = [numbers_of(name, split) for split in ("test", "valid", "train")]
        assert [len(split) for split in splits] == ([5, 4, 11] if copies == 1 else [6, 6, 48])
        assert len(set.union(*map(set, splits))) == sum(len({*split}) for split in splits)
    (tmp_path / "a.txt").write_text("x\n" * 20)
    with pytest.raises(UsageError, match="leave no sequences of .* because equal sequences are"):
        numbers_of(f"equations:{tmp_path}/a.txt", "train")


def test_labels_do_not_separate_architectures(tmp_path):
    lines = [f"[[{i % 6}], [{i // 6}, 1]], 0.{k}" for i in range(30) for k in (1, 2)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    config = group(f"enas:{tmp_path}/a.txt", num_test=9)
    train, test = (data.load(config, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (50, 10)
    assert not {x.tobytes() for x in train} & {x.tobytes() for x in test}


def test_the_seed_and_the_names_of_files_decide(tmp_path):
    """These numbers must never change, or runs would resume with other test images."""
    ids = held_out.identities([b"0.png", b"1.png", b"2.png", b"3.png"])
    assert ids.tolist() == [
        *(265832436952625554, 16883858749844907321),
        *(14899546226894209223, 916254557941266268),
    ]
    split = SimpleNamespace(identities=ids)
    orders = [held_out.order(split, seed).tolist() for seed in range(3)]
    assert orders == [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0]]
    # SplitMix64 from 0, as in its authors' code.
    assert held_out._mixed(np.zeros(1, np.uint64)) == 0xE220A8397B1DCDAF
    composed = write_named(tmp_path / "a", unicodedata.normalize("NFC", "Ä.png"))
    apart = write_named(tmp_path / "b", unicodedata.normalize("NFD", "Ä.png"))
    assert composed == apart


def write_named(folder, name):
    write_folder(folder, [])
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / name)
    source = data.open_source(group(f"folder:{folder}"))
    return source["train"].identities.tolist(), source["train"].digest()


def test_sources_that_cannot_change_are_shuffled():
    """Recorded results depend on these indices."""
    order = np.random.default_rng(3).permutation(5000)
    config = group("mnist_5k", num_test=5, num_valid=4, num_examples=7, seed=3)
    found = [data.select(config, split)[1] for split in ("test", "valid", "train")]
    for indices, expected in zip(found, np.split(order[:16], [5, 9]), strict=True):
        np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize("write", WRITERS)
def test_the_digest_differs_once_data_have_changed(tmp_path, write):
    def digests():
        return {split: each.digest() for split, each in data.open_source(group(name)).items()}

    name = write(tmp_path, range(2, 12))
    before = digests()
    assert digests() == before
    write(tmp_path, range(2, 13))
    assert digests()["train"] != before["train"]


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif"])
def test_one_pixel_that_changes_is_noticed(tmp_path, suffix):
    """It is noticed even if the file has the same size and end."""
    found, pixels = set(), np.zeros((64, 64), np.uint8)
    for level in (1, 2):
        pixels[32, 32] = level
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
        os.utime(tmp_path / f"a.{suffix}", (level, level))  # clocks are coarse
        found.add(data.open_source(group(f"folder:{tmp_path}"))["train"].digest())
    assert len(found) == 2


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_an_image_that_is_replaced_by_one_of_its_size_is_noticed(tmp_path, suffix):
    found = set()
    for level in (1, 2):
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(tmp_path / f"a.{suffix}")
        os.utime(tmp_path / f"a.{suffix}", (level, level))
        source = data.open_source(group(f"folder:{tmp_path}"))["train"]
        found.add((source.digest(), (tmp_path / f"a.{suffix}").stat().st_size))
    assert len(found) == 2
    assert len({size for _, size in found}) == 1
    shutil.copytree(tmp_path, tmp_path / "copy")
    os.utime(tmp_path / "copy" / f"a.{suffix}", (0, 0))
    copy = data.open_source(group(f"folder:{tmp_path}/copy"))["train"]
    assert copy.digest() == source.digest()


def test_the_splits_of_a_run_are_those_of_one_moment(tmp_path):
    """Images that are added to a folder or removed from it during a run do not count."""
    config = group(write_folder(tmp_path, range(2, 12)), num_test=3)
    splits = data.Splits(config)
    before, expected = splits.fingerprint, splits.examples("train")
    write_folder(tmp_path, range(20, 30))
    assert splits.fingerprint == before
    assert len(splits.examples("test")) == 3
    np.testing.assert_array_equal(splits.open_examples("train").all(), expected)
    assert data.Splits(config).fingerprint != before
