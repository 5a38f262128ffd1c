"""Checkpoints hold the state to the bit, and only the last few are kept."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax.errors import RunError
from sfvae_jax.training.checkpoints import Checkpoints
from sfvae_jax.training.state import TrainState


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
        for step in (1, 2, 3, 3):
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
