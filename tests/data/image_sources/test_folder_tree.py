"""Which files of a folder belong to which split: links, folder names, files left out."""

import os

import pytest

from sfvae_jax.data.image_sources.folder_tree import list_images
from sfvae_jax.errors import UsageError


def make(folder, *files, links=()):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(os.fsencode(file))
    for link, target in links:
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        (folder / link).symlink_to(target)
    return folder


def test_linked_folders_are_followed_without_loops_and_each_file_once(tmp_path):
    far = make(tmp_path / "far", "y.png", "deep/z.png")
    folder = make(
        tmp_path / "imgs",
        *("a/1.png", "b/2.png"),
        links=[
            ("linked", far),
            ("another", far / "deep"),  # lies in the other
            ("0", "a"),
            ("a/up", ".."),
            ("b/self", "."),
            ("b/away", tmp_path),
            ("c.png", "a/1.png"),
            ("loop", "loop"),
        ],
    )
    names = list_images(folder)["train"]  # what lies in the folder has its own name
    assert names == ("a/1.png", "another/z.png", "b/2.png", "linked/y.png")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train/a.png", "val/b.png", "test/c.png"], {"train": 1, "valid": 1, "test": 1}),
        (["Train/cat/a.png", "train/b.png", "VALID/b.png"], {"train": 2, "valid": 1}),
        (["set/Training/a.png", "set/Testing/b.png", "set/readme.txt"], {"train": 1, "test": 1}),
        (["cat/train/a.png", "cat/test/b.png", "dog/train/a.png"], {"train": 2, "test": 1}),
        (["train/test/a.png", "train/b.png", "test/train/c.png"], {"train": 2, "test": 1}),
        (["train/a.png"], {"train": 1}),
        (["cat/a.png", "training_set/b.png"], {"train": 2}),
        (["train/a.png", "test/notes.txt"], {"train": 1}),
    ],
)
def test_folders_are_the_splits(tmp_path, files, expected):
    splits = list_images(make(tmp_path, *files))
    assert {split: len(names) for split, names in splits.items()} == expected


def test_images_outside_of_the_splits_are_left_out_with_a_warning(tmp_path, caplog):
    splits = list_images(make(tmp_path, "train/a.png", "test/b.png", "masks/c.png", "d.png"))
    assert splits == {"train": ("train/a.png",), "test": ("test/b.png",)}
    assert "leaving out 2 images" in caplog.text
    assert "named train, valid or test, such as d.png" in caplog.text
    caplog.clear()
    assert list_images(tmp_path) == splits
    assert not caplog.text


def test_names_of_any_bytes_are_shown_in_one_line(tmp_path, caplog):
    strange = os.fsdecode(b"\xff\n.png")
    list_images(make(tmp_path, "train/a.png", "test/b.png", strange))
    (record,) = caplog.records
    assert r"such as '\udcff\n.png'" in record.getMessage()
    (tmp_path / "test" / strange).symlink_to("../train/a.png")
    with pytest.raises(UsageError, match="are the same file") as caught:
        list_images(tmp_path)
    assert str(caught.value).isprintable()


def test_splits_made_of_links(tmp_path, caplog):
    """Images outside of the splits are not left out if a split links to them."""
    links = [("train/1.png", "../all/1.png"), ("val/2.png", "../all/2.png"), ("test", "more")]
    splits = list_images(make(tmp_path, "all/1.png", "all/2.png", "more/3.png", links=links))
    assert splits == {"train": ("train/1.png",), "valid": ("val/2.png",), "test": ("test/3.png",)}
    assert not caplog.text


@pytest.mark.parametrize(
    ("files", "links", "message"),
    [
        (["test/a.png"], [], "holds the folder test, which .* but no folder named train"),
        (
            ["a.png", "x/val/b.png"],
            [],
            "the folder x/val, which has the name of a split.* named train",
        ),
        (["train/a.png", "bus/b.png"], [], "folder train and 1 images outside of it.* bus/b.png"),
        (["train/a.png"], [("test", "train")], "test/a.png and train/a.png of .* are the same"),
        (
            ["train/a.png", "val/b.png"],
            [("test", "val")],
            "in the test split and in the valid split",
        ),
        (["train/a.png", "b.png"], [("val/c.png", "../train/a.png")], "are the same file"),
    ],
)
def test_ambiguous_splits_are_refused(tmp_path, files, links, message):
    with pytest.raises(UsageError, match=message) as caught:
        list_images(make(tmp_path, *files, links=links))
    assert "\n" not in str(caught.value)


def test_hidden_and_left_behind_files_are_ignored(tmp_path):
    left_behind = (
        *(".hidden.png", "._x.png", "Thumbs.db", "desktop.ini"),
        *(".ipynb_checkpoints/x.png", "a/.ipynb_checkpoints/x.png", "__MACOSX/a/x.png"),
        *("@eaDir/x.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/x.png", "$RECYCLE.BIN/x.png"),
        *("System Volume Information/x.png", "lost+found/x.png"),
    )
    folder = make(tmp_path / ".home" / "imgs", *left_behind)
    with pytest.raises(UsageError, match="holds no images .* hidden files are not read"):
        list_images(folder)
    make(folder, "a/x.png")
    assert list_images(folder) == {"train": ("a/x.png",)}
