"""Folders of images: formats, modes, shapes, and damaged files."""

import numpy as np
import pytest
from PIL import Image

from sfvae_jax import data
from sfvae_jax.config import base_config
from sfvae_jax.errors import UsageError


def group(folder, **changes):
    config = base_config().data
    config.update({"name": f"folder:{folder}", **changes})
    return config


def pixels(*shape, seed=0):
    """A smooth image, which lossy formats keep within a few levels."""
    rows = np.linspace(0, 200, shape[0])[:, None, None]
    columns = np.linspace(0, 40, shape[1])[None, :, None]
    return np.broadcast_to(rows + columns + seed, shape).astype(np.uint8)


def write(folder, name, array, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.squeeze()).save(path, **options)
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[:-60])


def stored(config, split="train"):
    """The images in the order of their file names."""
    source, _ = data.select(config, split)
    return [source[i] for i in range(len(source))]


@pytest.fixture
def chairs(tmp_path):
    """The layout of 3D Chairs: a folder for each object, renders on white, and other files."""
    for i, name in enumerate(("b2", "a1")):
        for k in range(3):
            image = np.full((60, 60, 3), 255, np.uint8)
            image[20:40, 20:40] = 10 * i + k
            write(tmp_path, f"{name}/renders/image_{k:03}.png", image)
    (tmp_path / "all_chair_names.mat").write_bytes(b"no image")
    (tmp_path / "a1" / "renders" / "._image_000.png").write_bytes(b"no image either")
    return tmp_path


def test_renders_in_folders_in_the_order_of_their_names(chairs):
    images = stored(group(chairs))
    assert [image[30, 30, 0] for image in images] == [10, 11, 12, 0, 1, 2]
    config = group(chairs, image_size=15, channels=1, num_valid=2, num_test=1)
    splits = [data.load(config, split) for split in ("train", "valid", "test")]
    assert [split.shape for split in splits] == [(n, 15, 15, 1) for n in (3, 2, 1)]
    inks = np.concatenate([split[:, 7, 7, 0] for split in splits])
    assert sorted(inks) == [0, 1, 2, 10, 11, 12]
    assert all(np.all(split[:, 0, 0] == 255) for split in splits)
    assert data.load_labels(config, "train") is None
    again = data.load(group(chairs, image_size=15, channels=1, num_valid=2, num_test=1), "train")
    np.testing.assert_array_equal(splits[0], again)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "bmp", "webp", "ppm"])
def test_formats(tmp_path, suffix):
    array = pixels(24, 24, 3)
    write(tmp_path, f"a.{suffix}", array)
    (image,) = stored(group(tmp_path))
    assert image.shape == (24, 24, 3)
    np.testing.assert_allclose(image.astype(int), array, atol=6)


def test_modes(tmp_path):
    """Gray, two colours, palette, 16 bits and transparency, composited on white."""
    gray = pixels(8, 8, 1)
    write(tmp_path, "0_gray.png", gray)
    write(tmp_path, "1_bits.png", gray > 100)
    write(tmp_path, "2_deep.png", gray.astype(np.uint16) * 256 + 77)
    alpha = np.concatenate([gray, np.full_like(gray, 51)], axis=-1)
    Image.fromarray(alpha, mode="LA").save(tmp_path / "3_la.png")
    found = stored(group(tmp_path))
    assert all(image.shape == (8, 8, 1) and image.dtype == np.uint8 for image in found)
    np.testing.assert_array_equal(found[0], gray)
    np.testing.assert_array_equal(found[1], np.where(gray > 100, 255, 0))
    np.testing.assert_array_equal(found[2], gray)
    np.testing.assert_allclose(found[3], 0.2 * gray + 0.8 * 255, atol=1)


def test_colours_with_transparency_and_palettes(tmp_path):
    rgb = pixels(8, 8, 3)
    alpha = np.zeros((8, 8, 1), np.uint8)
    alpha[:4] = 255
    write(tmp_path, "0.png", np.concatenate([rgb, alpha], axis=-1))
    flat = np.full((8, 8, 3), (255, 0, 51), np.uint8)
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "1.png")
    over, palette = stored(group(tmp_path))
    np.testing.assert_array_equal(over[:4], rgb[:4])
    np.testing.assert_array_equal(over[4:], 255)
    np.testing.assert_array_equal(palette, flat)


def test_several_sizes_and_channels(tmp_path):
    write(tmp_path, "a.png", pixels(10, 14, 3))
    write(tmp_path, "b.png", pixels(20, 12, 3))
    with pytest.raises(UsageError, match="2 sizes, such as 10x14 and 20x12; set data.image_size"):
        data.load(group(tmp_path), "train")
    assert data.load(group(tmp_path, image_size=6), "train").shape == (2, 6, 6, 3)
    assert data.load(group(tmp_path, crop=9), "train").shape == (2, 9, 9, 3)
    with pytest.raises(UsageError, match="data.crop=11 is larger than an image of 10x14 pixels"):
        data.load(group(tmp_path, crop=11), "train")
    write(tmp_path, "c.png", pixels(10, 10, 1))
    with pytest.raises(UsageError, match=r"images with 1 and 3 channels; set data.channels"):
        data.load(group(tmp_path, image_size=6), "train")
    assert data.load(group(tmp_path, image_size=6, channels=1), "train").shape == (3, 6, 6, 1)
    assert data.load(group(tmp_path, image_size=6, channels=3), "train").shape == (3, 6, 6, 3)


@pytest.fixture
def damaged(tmp_path):
    """Ten whole images, one without a head, one cut off and one empty."""
    for i in range(10):
        write(tmp_path, f"{i}.jpg", pixels(32, 32, 3, seed=i))
    truncate(write(tmp_path, "cut.jpg", pixels(32, 32, 3)))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "void.jpg").write_bytes(b"")
    return tmp_path


def test_all_damaged_files_are_named_in_one_message(damaged):
    with pytest.raises(UsageError) as caught:
        data.open_examples(group(damaged), "train")
    message = str(caught.value)
    for words in (
        "3 of the 13 images",
        "cut.jpg (",
        "text.png (",
        "void.jpg (",
        "skip_corrupt=True",
    ):
        assert words in message
    assert "\n" not in message
    for i in range(20):
        (damaged / f"more{i}.png").write_text("no image")
    with pytest.raises(UsageError, match="23 of the 33 images.* and 13 more; remove"):
        data.open_examples(group(damaged), "train")


def test_damaged_files_can_be_skipped(damaged, caplog):
    images = stored(group(damaged, skip_corrupt=True))
    assert [int(image[0, 0, 0]) for image in images] == pytest.approx(range(10), abs=3)
    assert "skipping 3 of the 13 images" in caplog.text


@pytest.fixture
def rotten(tmp_path):
    """Two PNGs with a whole head and end, but other bytes in between."""
    for i in range(8):
        write(tmp_path, f"{i}.png", pixels(16, 16, 3, seed=i))
    for i in (3, 5):
        path = tmp_path / f"{i}.png"
        content = bytearray(path.read_bytes())
        at = content.index(b"IDAT") + 10
        content[at : at + 8] = bytes(8)
        path.write_bytes(bytes(content))
    return tmp_path


def test_damage_that_only_decoding_shows_is_named_for_all_files(rotten):
    """All are named even if only one was read, as in a streamed batch."""
    images = data.open_examples(group(rotten), "train")
    assert len(images) == 8
    _, order = data.select(group(rotten), "train")
    for positions in (slice(None), np.flatnonzero(order == 5)):
        with pytest.raises(UsageError, match=r"2 of the 8 images.*: 3.png \(.*, 5.png \("):
            images[positions]
    kept = stored(group(rotten, skip_corrupt=True))
    assert [image[0, 0, 0] for image in kept] == [0, 1, 2, 4, 6, 7]


def test_files_with_something_behind_their_end_are_whole(tmp_path):
    for suffix in ("jpg", "png"):
        path = write(tmp_path, f"a.{suffix}", pixels(16, 16, 3))
        path.write_bytes(path.read_bytes() + bytes(1000))
    assert len(data.load(group(tmp_path), "train")) == 2


def test_unusable_folders_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="requires the PATH of a folder"):
        data.load(group(""), "train")
    with pytest.raises(UsageError, match="none does not exist; give folder:PATH"):
        data.load(group(tmp_path / "none"), "train")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UsageError, match="notes.txt is not a folder"):
        data.load(group(tmp_path / "notes.txt"), "train")
    with pytest.raises(UsageError, match=r"holds no images \(.png, .jpg, .jpeg"):
        data.load(group(tmp_path), "train")
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(UsageError, match="none of the 1 images in .* can be read"):
        data.load(group(tmp_path, skip_corrupt=True), "train")

    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", forbidden)
    with pytest.raises(UsageError, match="cannot read the folder .*: Permission denied"):
        data.load(group(tmp_path), "train")


def test_a_new_or_changed_file_is_noticed(tmp_path):
    write(tmp_path, "a.png", pixels(8, 8, 3))
    assert len(stored(group(tmp_path))) == 1
    write(tmp_path, "b.png", pixels(8, 8, 3))
    assert len(stored(group(tmp_path))) == 2
    (tmp_path / "a.png").write_text("no image")
    for _ in range(2):
        with pytest.raises(UsageError, match="1 of the 2 images"):
            data.open_examples(group(tmp_path), "train")
    write(tmp_path, "a.png", pixels(9, 9, 3))
    (tmp_path / "b.png").unlink()
    assert data.load(group(tmp_path), "train").shape == (1, 9, 9, 3)


def test_a_file_that_changes_after_the_folder_was_opened(tmp_path):
    """A gray image would be broadcast to three channels."""
    write(tmp_path, "a.png", pixels(8, 8, 3))
    images = data.open_examples(group(tmp_path), "train")
    for shape in ((8, 8, 1), (9, 8, 3)):
        write(tmp_path, "a.png", pixels(*shape))
        with pytest.raises(UsageError, match="its file has changed since the data were opened"):
            images.all()
