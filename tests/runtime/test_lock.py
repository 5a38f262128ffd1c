"""One process at a time in a workdir."""

import errno
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import lock

_OWNER = """
import sys
from sfvae_jax.runs.workdir import Workdir
with Workdir(sys.argv[1]).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path):
    """A process that has the lock of tmp_path / "run"."""
    (tmp_path / "run").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, tmp_path / "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    with process:
        yield process
        process.kill()


def test_a_second_process_is_refused_and_a_dead_ones_lock_taken_over(owner, tmp_path, caplog):
    files = Workdir(tmp_path / "run")
    whose = f"pid {owner.pid} on host {socket.gethostname()}, since 20"
    with pytest.raises(UsageError, match=f"another process is at work in .*run: {whose}") as caught:
        files.locked().__enter__()
    assert str(caught.value).endswith("; stop it, or give another --workdir")
    assert [path.name for path in files.folder.iterdir()] == [lock.NAME]

    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with files.locked():
        told = f"workdir {files.folder}; its lock was left behind by {whose}"
        assert told in caplog.text
        assert json.loads((files.folder / lock.NAME).read_text())["pid"] == os.getpid()
    assert list(files.folder.iterdir()) == []


def test_what_another_process_has_is_not_free(owner, tmp_path):
    """Processes of a run check this before they join, and do not keep each other out."""
    with pytest.raises(UsageError, match=f"another process is at work .*: pid {owner.pid} on"):
        lock.check_free(tmp_path / "run")
    assert lock.is_locked(tmp_path / "run")
    owner.communicate()
    lock.check_free(tmp_path / "run")
    assert not lock.is_locked(tmp_path / "run")
    (tmp_path / "run" / lock.NAME).touch()
    with (tmp_path / "run" / lock.NAME).open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        lock.check_free(tmp_path / "run")
        assert not lock.is_locked(tmp_path / "run")


def test_an_owner_on_another_host_may_be_dead_and_is_waited_for(tmp_path, monkeypatch, caplog):
    """The file server releases the lock while this process waits; if not, it is refused."""
    path, slept = tmp_path / lock.NAME, []
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": "2026"}))
    other = path.open()
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr(lock, "_SECONDS_FOR_OTHER_HOSTS", 0.01)
    with pytest.raises(UsageError, match="pid 7 on host elsewhere"):
        lock.check_free(tmp_path)
    monkeypatch.setattr(lock, "_SECONDS_FOR_OTHER_HOSTS", 60.0)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: slept.append(other.close()))
    with Workdir(tmp_path).locked():
        assert len(slept) == 1
    assert "is locked by pid 7 on host elsewhere, since 2026; waiting up to 60 s" in caplog.text


def test_an_owner_that_ended_leaves_nothing(owner, tmp_path, caplog):
    owner.communicate()
    assert owner.returncode == 0
    with Workdir(tmp_path / "run").locked():
        assert caplog.text == ""


def test_the_lock_is_given_back_after_an_error(tmp_path):
    files = Workdir(tmp_path)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="of the run"), files.locked():
            raise RuntimeError("of the run")
    assert list(tmp_path.iterdir()) == []


def test_a_file_removed_by_its_last_owner_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """The owner removes the file and releases it after this process opened it."""
    path, opened = tmp_path / lock.NAME, []
    path.write_text("")
    real = fcntl.flock

    def flock(descriptor, operation):
        if not opened:
            path.unlink()
        opened.append(descriptor)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with Workdir(tmp_path).locked():
        assert len(opened) == 2
        assert json.loads(path.read_text())["pid"] == os.getpid()
        monkeypatch.undo()
        with pytest.raises(UsageError, match="another process"):
            Workdir(tmp_path).locked().__enter__()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 3}'])
def test_a_lock_that_says_little(tmp_path, content):
    (tmp_path / lock.NAME).write_text(content)
    with Workdir(tmp_path).locked():
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_locks_are_unknown_the_run_goes_on_and_says_so(tmp_path, monkeypatch, caplog):
    def flock(descriptor, operation):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with caplog.at_level(logging.WARNING, "sfvae_jax"), Workdir(tmp_path).locked():
        assert "does not support locks; do not use" in caplog.text
        assert not lock.is_locked(tmp_path)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("content")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / lock.NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="cannot write to workdir"):
        Workdir(tmp_path / "run").locked().__enter__()
    assert (tmp_path / "precious").read_text() == "content"


_LOST = {
    "its lock deleted": lambda run: (run / lock.NAME).unlink(),
    "its lock replaced": lambda run: (run / "copy").rename(run / lock.NAME),
    "deleted": shutil.rmtree,
    "moved": lambda run: run.rename(run.with_name("moved")),
    "replaced": lambda run: shutil.copytree(run.rename(run.with_name("moved")), run),
}


@pytest.mark.parametrize("how", _LOST)
def test_a_run_that_lost_its_folder_writes_no_more(tmp_path, tiny_config, how):
    """It neither restores the folder nor releases a lock of another process."""
    run, config, refused = tmp_path / "run", tiny_config(), []
    files = Workdir(run)

    def draw():
        with files.drawing() as folder:
            (folder / "a.png").write_text("")

    def lose():
        with files.claimed(config):
            files.append_metrics([{"step": 1}])
            shutil.copy(run / lock.NAME, run / "copy")
            _LOST[how](run)
            refused.append(_content(tmp_path))
            for write in (
                lambda: files.append_metrics([{"step": 2}]),
                lambda: files.cut_metrics(0),
                files.sync_metrics,
                lambda: files.write_results(config, step=1),
                files.set_figures_aside,
                draw,
                lambda: files.claim(config),
            ):
                with pytest.raises(
                    RunError, match="no longer belongs to this run: .*The run stops"
                ) as caught:
                    write()
                assert "\n" not in str(caught.value)

    with pytest.raises(RunError, match="run no longer belongs to this run: .*The run stops"):
        lose()  # reported where nothing more was written
    assert [_content(tmp_path)] == refused


def test_what_a_save_brings_back_of_a_lost_folder_goes(tmp_path, tiny_config):
    """Orbax and TensorStore make the folders that they write to."""
    files = Workdir(tmp_path / "run")

    def lose():
        with files.claimed(tiny_config()):
            shutil.rmtree(files.folder)
            (files.checkpoints / "8.orbax-checkpoint-tmp" / "default").mkdir(parents=True)

    with pytest.raises(RunError, match="its .lock was deleted"):
        lose()
    assert list(tmp_path.iterdir()) == []


def _content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
