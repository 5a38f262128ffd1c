"""Checkpoints hold the state to the bit, and only the last few are kept."""

import dataclasses
import resource
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax.errors import RunError
from sfvae_jax.training.checkpoints import Checkpoints, last_step, read_params, read_state
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
        ({"kernel": jnp.zeros((300, 100))}, r"kernel is \[300, 200\] there and \[300, 100\] in"),
        ({"weights": jnp.zeros((300, 200))}, r"kernel is \[300, 200\] there and missing in"),
    ],
)
def test_another_architecture_is_refused(tmp_path, params, message):
    with Checkpoints(tmp_path / "c", 1) as checkpoints:
        checkpoints.save(_state(7))
        other = dataclasses.replace(_state(0), params=params)
        with pytest.raises(RunError, match=f"checkpoint 7 is of another architecture: .*{message}"):
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
    np.testing.assert_array_equal(read_params(folder)["kernel"], _state(4).params["kernel"])
    assert caplog.text.count("checkpoint 8 is damaged: ") == 2
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
    with pytest.raises(RunError, match="holds no whole checkpoint") as caught:
        _restore(folder)
    for part in (f"{folder} ", "checkpoint 12: ", "checkpoint 8: ", "checkpoint 4: ", "--workdir"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _content(tmp_path) == before
    with pytest.raises(RunError, match="holds no whole checkpoint"):
        read_params(folder)


def test_another_architecture_is_no_damage(tmp_path):
    """It is told, and the damaged newer one stays where it is."""
    folder = tmp_path / "c"
    _save(folder, 4, 8)
    _damage(folder, 8)
    other = dataclasses.replace(_state(0), params={"kernel": jnp.zeros((3, 3))})
    with pytest.raises(RunError, match="checkpoint 4 is of another architecture"):
        _restore(folder, other)
    assert _names(folder) == ["4", "8"]


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


def _limited(size):
    """No file of this process may grow beyond so many bytes, as if the disk were full."""
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
    _assert_only(folder, 4)


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


def _save_and_fail(folder):
    with Checkpoints(folder, 1) as checkpoints:
        checkpoints.save(_state(4))
        raise RunError("of the run")


def test_an_error_on_its_way_is_not_hidden_by_a_save_that_fails(tmp_path, limited, caplog):
    limited(100_000)
    with pytest.raises(RunError, match="of the run"):
        _save_and_fail(tmp_path / "c")
    limited(resource.RLIM_INFINITY)
    assert "cannot write checkpoint 4: File too large; there is no checkpoint" in caplog.text


def test_a_full_disk(tmp_path):
    """A real one, of 3 MB, which some checkpoints of 480 kB each fill."""
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
