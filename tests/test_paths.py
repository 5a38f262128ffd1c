import os
import socket

import pytest

from sfvae_jax.errors import UsageError
from sfvae_jax.paths import local_path, not_regular, regular_file, shown


def test_a_path_is_absolute_and_without_parents_home_or_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert local_path("../x/./y", "--workdir") == tmp_path.parent / "x" / "y"
    assert local_path("~/runs", "--workdir") == tmp_path / "home" / "runs"
    assert local_path("link/run", "--workdir") == tmp_path / "real" / "run"
    assert local_path("runs/..", "--workdir") == tmp_path


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("gs://bucket/run", "is a URL"),
        ("s3://bucket/run", "is a URL"),
        ("", "is empty"),
        ("~no-such-user-here/run", "home directory"),
        ("a\0b", "null"),
    ],
)
def test_what_is_no_local_path_is_refused_in_one_line(given, says):
    with pytest.raises(UsageError, match=says) as error:
        local_path(given, "--workdir")
    assert str(error.value).startswith("--workdir")
    assert "\n" not in str(error.value)


def test_a_loop_of_links_is_refused_or_left_to_the_system(tmp_path):
    os.symlink(tmp_path / "b", tmp_path / "a")
    os.symlink(tmp_path / "a", tmp_path / "b")
    try:
        assert local_path(tmp_path / "a", "--workdir")  # Python 3.13 leaves it as it is
    except UsageError as error:
        assert "loop" in str(error).lower()  # noqa: PT017


def test_a_path_below_the_current_folder_is_shown_relative_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "runs" / "a") == "runs/a"
    assert shown(tmp_path.parent / "b") == str(tmp_path.parent / "b")


def test_a_regular_file_is_found_through_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    assert regular_file("./link", "data.name") == tmp_path / "file"
    assert not not_regular(tmp_path / "link")


def test_a_key_that_ends_in_a_colon_stands_right_before_the_path(tmp_path):
    with pytest.raises(UsageError, match="^data.name=npz:gs://b/a.npz is a URL"):
        local_path("gs://b/a.npz", "data.name=npz:")
    with pytest.raises(UsageError, match=f"^data.name=npz:{tmp_path}/none: there is no file"):
        regular_file(tmp_path / "none", "data.name=npz:")


def test_what_is_no_regular_file_is_refused_in_one_line_and_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo("pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for given, says in (
            ("pipe", "is a named pipe; expected a regular file"),
            ("link", "is a named pipe"),
            ("socket", "is a socket"),
            ("/dev/zero", "is a device"),
            (".", "is a folder"),
            ("none", "there is no file"),
            ("pipe/file", "cannot read .*: Not a directory"),
            ("gs://bucket/file", "is a URL"),
            ("x" * 300, "File name too long"),
        ):
            with pytest.raises(UsageError, match=f"^data.name={given}.*{says}") as error:
                regular_file(given, "data.name")
            assert "\n" not in str(error.value)
