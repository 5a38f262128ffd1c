"""Files are written whole or not at all, and what is read as JSON is JSON as we write it."""

import errno
import os
import stat

import numpy as np
import pytest
from helpers import largest_file

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import figures
from sfvae_jax.runtime.files import NotJson, parse_json, read_json, write_bytes, write_json


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[]", "does not hold a JSON object"),
        (b"null", "does not hold a JSON object"),
        (b'{"a": 1}{', "Extra data"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": NaN}', "holds NaN, which is not a finite number"),
        (b'{"a": -Infinity}', "holds -Infinity, which is not a finite number"),
        (b'{"a": 1e999}', "holds 1e999, which is not a finite number"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' occurs twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "more than 19 digits"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested more than 100 levels"),
        (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested more than 100 levels"),
        (b'{"a": ' * 100_000, "nested more than 100 levels"),
    ],
)
def test_what_is_no_json_object_is_told_in_one_line(tmp_path, content, reason):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(NotJson, match=f"^cannot read {path}: .*{reason}") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_what_we_write_is_read(tmp_path):
    content = {"é": [1, -2.5, 1e-300, True, None, {"deep": "\udcff"}], "seed": -(2**63)}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert np.isnan(parse_json(b"NaN", finite=False))


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "it is a named pipe"),
        (tmp_path, "it is a folder"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(UsageError, match=f"cannot read {path}: {reason}"):
            read_json(path)


def test_a_file_system_that_synchronises_no_folders(tmp_path, monkeypatch):
    """Some network file systems are like this; the file is written anyway."""
    fsync = os.fsync

    def fail(error):
        def sync(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(error, os.strerror(error))
            fsync(descriptor)

        return sync

    monkeypatch.setattr(os, "fsync", fail(errno.EINVAL))
    write_bytes(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(OSError, match="'.*/a'"):
        write_bytes(tmp_path / "a", b"other")


def test_on_a_full_disk_a_file_stays_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.png"
    figure = figures.new_figure(2, 2)
    figure.subplots().imshow(np.random.default_rng(0).random((50, 50)))
    with largest_file(1000), pytest.raises(OSError, match=r"File too large: '.*/new/a\.png'"):
        figures.save(figure, path)
    assert list(path.parent.iterdir()) == []
    figures.save(figure, path)
    before = path.read_bytes()
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        write_bytes(path, bytes(2000))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
