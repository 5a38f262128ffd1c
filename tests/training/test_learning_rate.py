"""The learning rate's schedules, written out step by step, and what the optimizer makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax.training.learning_rate import learning_rate
from sfvae_jax.training.state import make_optimizer


def _rates(config):
    return np.asarray(jax.vmap(learning_rate(config))(jnp.arange(config.steps)))


@pytest.mark.parametrize("times", [1, 2])
def test_burdas_stages(tiny_config, times):
    """Stage i is 3^i of 3,280 passes at 10^(-3 - i/7): from 1e-3 to 1e-4."""
    passes = [3**i for i in range(8)]
    assert sum(passes) == 3280
    expected = np.repeat([10 ** (-3 - i / 7) for i in range(8)], [times * n for n in passes])
    changes = {"train.learning_rate_schedule": "burda", "train.steps": 3280 * times}
    np.testing.assert_allclose(_rates(tiny_config(**changes).train), expected, rtol=1e-6)


def test_burdas_stages_of_a_short_run_are_rounded(tiny_config):
    """Of 100 steps: ends at 100 (3^(i+1) - 1) / 6560 = 0.03, 0.1, 0.4, 1.2, 3.7, 11.1, 33.3."""
    changes = {"train.learning_rate_schedule": "burda", "train.steps": 100}
    stages = np.repeat([3, 4, 5, 6, 7], [1, 3, 7, 22, 67])
    np.testing.assert_allclose(
        _rates(tiny_config(**changes).train), 10 ** (-3 - stages / 7), rtol=1e-6
    )


def test_cosine(tiny_config):
    changes = {"train.learning_rate_schedule": "cosine", "train.steps": 10}
    expected = 1e-3 * 0.5 * (1 + np.cos(np.pi * np.arange(10) / 10))
    np.testing.assert_allclose(_rates(tiny_config(**changes).train), expected, rtol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "burda", "cosine"])
def test_the_optimizer_steps_by_the_rate(tiny_config, schedule):
    """Adam's update of a gradient that never changes is the rate itself, against its sign."""
    config = tiny_config(**{"train.learning_rate_schedule": schedule, "train.steps": 20}).train
    optimizer, gradient = make_optimizer(config), jnp.array([2.0, -3.0])
    state, updates = optimizer.init(gradient), []
    for _ in range(config.steps):
        update, state = optimizer.update(gradient, state)
        updates.append(update)
    expected = _rates(config)[:, None] * np.array([-1.0, 1.0])
    np.testing.assert_allclose(updates, expected, rtol=1e-4)
