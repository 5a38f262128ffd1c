"""Checkpoints hold the state to the bit, and only the last few are kept."""

import dataclasses
import resource
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from sfvae_jax.errors import RunError
from sfvae_jax.runs.checkpoints import proof
from sfvae_jax.runs.checkpoints.folders import TEMPORARY
from sfvae_jax.runs.checkpoints.restoring import last_step, read_state, read_step
from sfvae_jax.runs.checkpoints.saving import Checkpoints
from sfvae_jax.training.state import TrainState

# Of a write that fails Orbax leaves other writers behind, who find no one to report to.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def _state(step):
    noise = jax.random.normal(jax.random.key(step), (300, 200))
    return TrainState(jnp.array(step), {"kernel": noise}, (noise * 2, jnp.array(step)))


def test_restored_to_the_bit(tmp_path):
    with Checkpoints(tmp_path / "c", 3) as checkpoints:
        assert checkpoints.last_step is None
        checkpoints.save(_state(5))
    with Checkpoints(tmp_path / "c", 3) as checkpoints:
        assert checkpoints.last_step == 5
        restored = checkpoints.restore(_state(0))
    jax.tree.map(np.testing.assert_array_equal, restored, _state(5))


def test_buffers_given_up_while_the_write_goes_on(tmp_path):
    """The next step donates the state's buffers; what is on disk must not change with them."""
    step = jax.jit(lambda s: jax.tree.map(lambda a: a + 1, s), donate_argnums=0)
    state = _state(1)
    expected = jax.tree.map(np.array, state)
    with Checkpoints(tmp_path / "c", 3) as checkpoints:
        checkpoints.save(state)
        for _ in range(20):
            state = step(state)
        jax.block_until_ready(state)
    with Checkpoints(tmp_path / "c", 3) as checkpoints:
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(_state(0)), expected)


def test_the_last_few_are_kept(tmp_path):
    with Checkpoints(tmp_path / "c", 2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(_state(step))
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["2", "3"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"kernel": jnp.zeros((300, 100))},
            r"kernel is \[300, 200\] in the checkpoint and \[300, 100\] in",
        ),
        (
            {"weights": jnp.zeros((300, 200))},
            r"kernel is \[300, 200\] in the checkpoint and missing in",
        ),
    ],
)
def test_another_architecture_is_refused(tmp_path, params, message):
    with Checkpoints(tmp_path / "c", 1) as checkpoints:
        checkpoints.save(_state(7))
        other = dataclasses.replace(_state(0), params=params)
        with pytest.raises(
            RunError, match=f"checkpoint 7 belongs to another architecture: .*{message}"
        ):
            checkpoints.restore(other)


def _save(folder, *steps, num_kept=3):
    with Checkpoints(folder, num_kept) as checkpoints:
        for step in steps:
            checkpoints.save(_state(step))


def _save_and_wait(checkpoints, step):
    checkpoints.save(_state(step))
    checkpoints.wait()


def _restore(folder, like=None):
    with Checkpoints(folder, 3) as checkpoints:
        return checkpoints.restore(_state(0) if like is None else like)


def _damage(folder, *steps):
    for step in steps:
        largest = max((folder / str(step)).rglob("*"), key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:1000])


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _content(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path, caplog):
    folder = tmp_path / "c"
    _save(folder, 4, 8, 12)
    _damage(folder, 8, 12)
    with Checkpoints(folder, 3) as checkpoints:
        restored = checkpoints.restore(_state(0))
        jax.tree.map(np.testing.assert_array_equal, restored, _state(4))
        for step in (8, 12):
            assert f"checkpoint {step} is damaged: " in caplog.text
            assert f"damaged checkpoint {step} is set aside as {step}.damaged" in caplog.text
        assert caplog.text.count("; using checkpoint 4") == 2
        assert checkpoints.last_step == 4
        checkpoints.save(_state(8))
    with Checkpoints(folder, 3) as checkpoints:
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(_state(0)), _state(8))
    assert _names(folder) == ["12.damaged", "4", "8", "8.damaged"]

    # Damaged once more, it takes the place of the first.
    _damage(folder, 8)
    with Checkpoints(folder, 3) as checkpoints:
        assert int(checkpoints.restore(_state(0)).step) == 4
    assert _names(folder) == ["12.damaged", "4", "8.damaged"]


def test_who_only_reads_takes_the_one_before_and_changes_nothing(tmp_path, caplog):
    folder = tmp_path / "c"
    _save(folder, 4, 8)
    _damage(folder, 8)
    (folder / "9.orbax-checkpoint-tmp").mkdir()
    before = _content(tmp_path)
    restored = read_state(folder, _state(0))
    jax.tree.map(np.testing.assert_array_equal, restored, _state(4))
    assert caplog.text.count("checkpoint 8 is damaged: ") == 1
    assert last_step(folder) == 8
    assert _content(tmp_path) == before
    assert _names(folder) == ["4", "8", "9.orbax-checkpoint-tmp"]


def test_with_none_whole_all_are_told_and_nothing_is_changed(tmp_path):
    folder = tmp_path / "c"
    _save(folder, 4, 8)
    _damage(folder, 4)
    shutil.rmtree(folder / "8" / "default")
    (folder / "12").write_text("")  # not even a folder
    before = _content(tmp_path)
    with pytest.raises(RunError, match="holds no complete checkpoint") as caught:
        _restore(folder)
    for part in (f"{folder} ", "checkpoint 12: ", "checkpoint 8: ", "checkpoint 4: ", "--workdir"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _content(tmp_path) == before


def test_another_architecture_is_no_damage(tmp_path):
    """It is reported before anything is read, and a damaged checkpoint stays where it is."""
    folder = tmp_path / "c"
    _save(folder, 4, 8)
    _damage(folder, 8)
    other = dataclasses.replace(_state(0), params={"kernel": jnp.zeros((3, 3))})
    with pytest.raises(RunError, match="checkpoint 8 belongs to another architecture"):
        _restore(folder, other)
    assert _names(folder) == ["4", "8"]


@pytest.mark.parametrize("step", [4, 8])
@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"custom_metadata": NaN}',
        '{"init_timestamp_nsecs": "x", "custom_metadata": {}}',
        '{"custom_metadata": ' + "9" * 5000 + "}",
    ],
)
def test_damaged_metadata_of_any_checkpoint_stop_no_run(tmp_path, step, content):
    """Orbax would read the metadata of all checkpoints when it begins."""
    folder = tmp_path / "c"
    _save(folder, 4, 8)
    (folder / str(step) / "_CHECKPOINT_METADATA").write_text(content)
    with Checkpoints(folder, 2) as checkpoints:
        restored = int(checkpoints.restore(_state(0)).step)
        checkpoints.save(_state(12))
        checkpoints.save(_state(16))
    assert restored in (4, 8)
    assert {"12", "16"} <= set(_names(folder)) <= {"12", "16", "8.damaged"}


def test_a_renamed_folder_is_not_another_step(tmp_path, caplog):
    folder = tmp_path / "c"
    _save(folder, 20)
    shutil.copytree(folder / "20", folder / "1000")
    assert int(read_state(folder, _state(0)).step) == 20
    assert "checkpoint 1000 is damaged: it belongs to step 20; its folder was" in caplog.text
    with Checkpoints(folder, 3) as checkpoints:
        assert int(checkpoints.restore(_state(0)).step) == 20
    assert _names(folder) == ["1000.damaged", "20"]
    assert read_step(folder, 1000, _state(0)) is None
    assert int(read_step(folder, 20, _state(0)).step) == 20


@pytest.mark.parametrize("name", ["hid=[16]", "a\\b"])
def test_a_first_save_that_cannot_be_read_stops_the_run(tmp_path, name):
    """Orbax reads such a path as a pattern, finds nothing to put together, and only warns."""
    with pytest.raises(RunError, match="checkpoint 4 was written and cannot be read") as caught:
        _save(tmp_path / name / "c", 4)
    assert "\n" not in str(caught.value)


def test_a_first_save_is_compared_and_later_ones_are_not_waited_for(tmp_path, monkeypatch):
    read, others, from_disk = [], {}, proof.read

    def read_and_change(folder, check):
        read.append(folder.name)
        arrays, proved = from_disk(folder, check)
        return arrays | others, proved

    monkeypatch.setattr(proof, "read", read_and_change)
    _save(tmp_path / "c", 4, 8)
    assert read == ["4"]
    others["params.kernel"] = np.zeros((300, 200), np.float32)
    with pytest.raises(
        RunError, match="read back: its numbers are not those that were saved. Training"
    ):
        _save(tmp_path / "c", 12)


class _Owner:
    """Says whether the folder belongs to this run, as it does until `lose` is called."""

    def __init__(self):
        self.lost = False

    def check(self):
        if self.lost:
            raise RunError("no longer this run's")


def test_a_folder_that_is_another_runs_now_is_left_alone(tmp_path):
    folder, owner = tmp_path / "c", _Owner()
    checkpoints = Checkpoints(folder, 1, owner.check)
    checkpoints.save(_state(4))
    checkpoints.save(_state(8))
    shutil.move(folder, tmp_path / "moved")
    owner.lost = True
    theirs = folder / "3.orbax-checkpoint-tmp"
    theirs.mkdir(parents=True)
    with pytest.raises(RunError, match="^no longer this run's$"):
        checkpoints.wait()
    with pytest.raises(RunError, match="^no longer this run's$"):
        checkpoints.save(_state(12))
    checkpoints.__exit__(None)
    assert theirs.exists()
    assert not (folder / "12").exists()


def test_killed_at_any_stage_of_a_save_the_one_before_is_used(tmp_path):
    """Orbax writes into a temporary folder, here cut down to every stage it may have reached."""
    folder = tmp_path / "c"
    _save(folder, 4, 8)
    whole = tmp_path / "whole"
    (folder / "8").rename(whole)
    temporary = folder / "8.orbax-checkpoint-tmp"
    parts = sorted(path.relative_to(whole) for path in whole.rglob("*"))
    for number in range(len(parts) + 1):
        shutil.copytree(whole, temporary)
        for part in reversed(parts[number:]):
            path = temporary / part
            path.rmdir() if path.is_dir() else path.unlink()
        assert last_step(folder) == 4
        with Checkpoints(folder, 3) as checkpoints:
            assert checkpoints.last_step == 4
            if number % 8 == 0:
                assert int(checkpoints.restore(_state(0)).step) == 4
                checkpoints.save(_state(8))
        shutil.rmtree(folder / "8", ignore_errors=True)
        assert _names(folder) == ["4"]


def test_what_is_not_whole_yet_has_the_name_that_orbax_gives_it():
    assert TEMPORARY == ocp.utils.TMP_DIR_SUFFIX


def test_a_folder_that_cannot_be_made_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"^cannot use .*file/c: Not a directory$"):
        Checkpoints(tmp_path / "file" / "c", 3)


def _limited(size):
    """Limits the files of this process to this number of bytes, as if the disk were full."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


@pytest.fixture
def limited():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield _limited
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _assert_only(folder, step):
    assert _names(folder) == [str(step)]
    with Checkpoints(folder, 1) as checkpoints:
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(_state(0)), _state(step))


@pytest.mark.parametrize("size", [0, 300, 100_000])
def test_a_save_that_fails_keeps_the_one_before(tmp_path, limited, size):
    """Told by `wait`, where the write went on in the background; at 0 and 300 bytes the first files
    fail, then the arrays."""
    folder = tmp_path / "c"
    _save(folder, 4)
    with Checkpoints(folder, 1) as checkpoints:
        limited(size)
        with pytest.raises(RunError) as caught:
            _save_and_wait(checkpoints, 8)
        limited(resource.RLIM_INFINITY)
        message = str(caught.value)
        assert message.startswith("cannot write checkpoint 8: ")
        assert message.endswith("; checkpoint 4 is kept")
        assert "File too large" in message
        assert "\n" not in message
        assert checkpoints.last_step == 4
    # Orbax's threads may have gone on with the failed save, to its end, once there was room again.
    with Checkpoints(folder, 1) as checkpoints:
        found = checkpoints.restore(_state(0))
    assert int(found.step) in (4, 8)
    jax.tree.map(np.testing.assert_array_equal, found, _state(int(found.step)))


def test_a_save_that_fails_is_told_by_the_next_or_at_the_end(tmp_path, limited):
    folder = tmp_path / "c"
    limited(100_000)
    with pytest.raises(RunError, match="cannot write checkpoint 4: .*; there is no checkpoint"):
        _save(folder, 4, 8)
    limited(resource.RLIM_INFINITY)
    assert _names(folder) == []
    _save(folder, 4)
    limited(100_000)
    with pytest.raises(RunError, match="cannot write checkpoint 8: .*; checkpoint 4 is kept"):
        _save(folder, 8, num_kept=1)
    limited(resource.RLIM_INFINITY)
    _assert_only(folder, 4)


def _save_and_fail(folder, limited):
    with Checkpoints(folder, 1) as checkpoints:
        checkpoints.save(_state(4))
        limited(100_000)
        checkpoints.save(_state(8))
        raise RunError("of the run")


def test_an_error_on_its_way_is_not_hidden_by_a_save_that_fails(tmp_path, limited, caplog):
    with pytest.raises(RunError, match="of the run"):
        _save_and_fail(tmp_path / "c", limited)
    limited(resource.RLIM_INFINITY)
    assert "cannot write checkpoint 8: File too large; checkpoint 4 is kept" in caplog.text


def test_a_full_disk(tmp_path):
    """A real file system of 3 MB, which a few checkpoints of 480 kB each fill."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        folder = disk / "c"
        with pytest.raises(RunError, match=r": No space left on device; checkpoint \d+ is kept"):
            _save(folder, *range(1, 11), num_kept=10)
        kept = last_step(folder)
        assert _names(folder) == sorted(map(str, range(1, kept + 1)))
        assert int(read_state(folder, _state(0)).step) == kept
    finally:
        subprocess.run(["umount", disk], check=True)
