"""Image files: orientations, 16 bits a channel, and files that are not images."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from test_folder import group, pixels, stored, write

from sfvae_jax import data
from sfvae_jax.errors import UsageError


def write_png(path, size, kind, rows):
    """A PNG with this width, height, depth and kind of colour, and these rows of bytes."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    head = struct.pack(">IIBBBBB", *size, *kind, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))


def write_deep_png(path, values):
    """A PNG of pixels [H, W, C] with 16 bits a channel, which Pillow cannot write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    write_png(path, (width, height), (16, {1: 0, 2: 4, 3: 2}[channels]), rows)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_photographs_are_turned_upright(tmp_path, suffix):
    """All eight EXIF orientations give the same pixels as in Pillow."""
    image = Image.fromarray(pixels(12, 20, 3))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / f"{orientation}.{suffix}", exif=exif, quality=95)
    found = stored(group(tmp_path))
    for orientation, image in enumerate(found, 1):
        with Image.open(tmp_path / f"{orientation}.{suffix}") as file:
            upright = np.asarray(ImageOps.exif_transpose(file))
        np.testing.assert_array_equal(image, upright)
        assert image.shape == ((12, 20, 3) if orientation < 5 else (20, 12, 3))
    assert data.open_examples(group(tmp_path, image_size=8), "train").shape == (8, 8, 8, 3)
    with pytest.raises(UsageError, match="2 sizes, such as 12x20 and 20x12"):
        data.open_examples(group(tmp_path), "train")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_ignored(tmp_path):
    write(tmp_path, "a.jpg", pixels(8, 8, 3), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert stored(group(tmp_path))[0].shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("depth", "greatest"), [(1, 1), (8, 255), (10, 1023), (12, 4095), (14, 9000), (16, 65535)]
)
def test_how_many_of_sixteen_bits_are_used(tmp_path, caplog, depth, greatest):
    """One number holds for all splits, so that a dark image stays dark."""
    caplog.set_level("INFO", "sfvae_jax")
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    bright = np.array([[0, greatest], [greatest // 2, greatest]])[..., None]
    write_deep_png(tmp_path / "train" / "bright.png", bright)
    write_deep_png(tmp_path / "test" / "dark.png", bright // 4)
    (found,), (dark,) = (stored(group(tmp_path), split) for split in ("train", "test"))
    white = 255 if depth == 1 else greatest >> max(depth - 8, 0)
    assert found.shape == (2, 2, 1)
    assert [found[0, 0, 0], found[0, 1, 0]] == [0, white]
    assert dark[0, 1, 0] == (0 if depth == 1 else (greatest // 4) >> (depth - 8))
    assert f"read as {depth}-bit values" in caplog.text


def test_masks_that_come_out_black_cause_a_warning(tmp_path, caplog):
    for i in range(40):
        write(tmp_path, f"{i}.png", np.full((2, 2, 1), i % 2, np.uint8))
    data.open_examples(group(tmp_path), "train")
    assert "are nearly black: the largest value in 20 of its 40 images is 1 of 255" in caplog.text
    caplog.clear()
    write(tmp_path, "0.png", np.full((2, 2, 1), 255, np.uint8))
    data.open_examples(group(tmp_path), "train")
    assert not caplog.text


def test_deep_tiff_and_pgm(tmp_path):
    """A PGM states its own largest value, which does not depend on the other files."""
    values = np.array([[0, 4095], [16, 160]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif")
    (tmp_path / "b.pgm").write_bytes(b"P5 2 2 4095\n" + values.astype(">u2").tobytes())
    for image in stored(group(tmp_path)):
        np.testing.assert_array_equal(image[..., 0], [[0, 255], [1, 10]])


@pytest.mark.parametrize("channels", [2, 3])
def test_deep_colours(tmp_path, channels):
    """Pillow only gives the upper 8 bits; images that only use the lower ones are refused."""
    values = np.full((4, 4, channels), 65535)
    values[0, 0] = 0
    write_deep_png(tmp_path / "a.png", values)
    assert stored(group(tmp_path))[0].max() == 255
    write_deep_png(tmp_path / "a.png", values // 16)
    with pytest.raises(UsageError, match="a.png, have colours .* only 12 bits: .* nearly black"):
        stored(group(tmp_path))


def strange_files(folder):
    """Files that have the name of an image but are something else."""
    (folder / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    Image.fromarray(np.ones((4, 4), np.float32)).save(folder / "float.tif")
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(folder / "whole.tif")
    (folder / "real.ppm").write_bytes(b"Pf\n2 1\n-1.0\n" + np.float32([0.5, 1]).tobytes())
    frames = [Image.fromarray(pixels(4, 4, 3, seed=50 * i)) for i in range(2)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    write_png(folder / "bomb.png", (20_000, 20_000), (1, 0), b"")
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "two\nlines.png").write_text("no image")


def test_strange_files_are_refused_by_name_or_skipped(tmp_path, monkeypatch):
    """No other program is started, nothing waits, and one line names them all."""
    monkeypatch.setattr("subprocess.Popen", None)
    strange_files(tmp_path)
    write(tmp_path, "good.gif", pixels(4, 4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError) as caught:
            data.open_examples(group(tmp_path), "train")
    message = str(caught.value)
    for words in (
        "10 of the 11 images",
        "bomb.png (more than 89478485 pixels)",
        "eps.png (not an image)",
        "float.tif (its pixels have mode F; expected 8 or 16 bits a channel)",
        "link.png (a dangling link)",
        "loop.png (",
        "moving.gif (it has 2 frames; expected one)",
        "pipe.png (it is a named pipe)",
        "real.ppm (its pixels have mode F",
        r"'two\nlines.png' (not an image)",
        "whole.tif (its pixels have mode I;",
    ):
        assert words in message
    assert "\n" not in message
    (image,) = stored(group(tmp_path, skip_corrupt=True))
    assert image.shape == (4, 4, 3)


def test_paths_that_cannot_exist(tmp_path):
    for name in ("gs://bucket/imgs", "~nosuchuser/imgs", "a\0b"):
        with pytest.raises(UsageError, match="data.name"):
            data.open_examples(group(name), "train")
