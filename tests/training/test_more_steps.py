"""Which settings let a run go on to more steps, beside the values of all schedules."""

import jax
import numpy as np
import pytest

from sfvae_jax.config import resolve
from sfvae_jax.training.learning_rate import learning_rate
from sfvae_jax.training.schedules import make_schedules
from sfvae_jax.training.schedules import obstacles_to_more_steps as obstacles

STEPS, MORE = 12, 30
VALIDATED = {"train.validate_every": 3, "data.num_valid": 10}


def values(config, steps):
    """The weights and the learning rate at all steps, as they are in training."""
    schedules = [*make_schedules(config.objective, config.train.steps), learning_rate(config.train)]
    at = np.arange(steps)
    return [np.broadcast_to(jax.vmap(schedule)(at), at.shape) for schedule in schedules]


def judged_by(config):
    """The weights with which validation judges a model."""
    last = config.train.steps - 1
    return [float(of(last)) for of in make_schedules(config.objective, config.train.steps)]


def both(tiny_config, changes):
    """The configurations of the shorter and of the longer run, whose objective has a gamma."""
    changes = {"objective.name": "sampling_free", **changes}
    return [resolve(tiny_config(**{**changes, "train.steps": steps})) for steps in (STEPS, MORE)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        VALIDATED,
        {"objective.gamma_schedule": "linear", "objective.gamma_steps": 5},
        {"objective.gamma_schedule": "linear", "objective.gamma_steps": 20},
        {"objective.gamma_schedule": "piecewise", "objective.gamma_boundaries": (2, 4, 6, 20)},
        {"objective.beta_schedule": "cyclic", "objective.beta_steps": 8},
        {"objective.entropy_schedule": "linear", "objective.entropy_steps": 12},
        {**VALIDATED, "objective.beta_schedule": "linear", "objective.beta_steps": 11},
        {**VALIDATED, "train.stop_patience": 2, "train.plateau_patience": 1},
    ],
)
def test_allowed_settings_take_the_same_steps(tiny_config, changes):
    short, long = both(tiny_config, changes)
    assert obstacles(long, STEPS) == []
    for before, now in zip(values(short, STEPS), values(long, STEPS), strict=True):
        np.testing.assert_array_equal(before, now)
    if "train.validate_every" in changes:
        assert judged_by(short) == judged_by(long)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train.learning_rate_schedule": "cosine"}, "train.learning_rate_schedule 'cosine'"),
        ({"train.learning_rate_schedule": "burda"}, "train.learning_rate_schedule 'burda'"),
        ({"objective.gamma_schedule": "linear"}, "because objective.gamma_steps is 0"),
        ({"objective.gamma_schedule": "piecewise"}, "because objective.gamma_boundaries is ()"),
        ({"objective.beta_schedule": "linear"}, "because objective.beta_steps is 0"),
        ({"objective.beta_schedule": "cyclic"}, "because objective.beta_steps is 0"),
        ({"objective.entropy_schedule": "linear"}, "because objective.entropy_steps is 0"),
    ],
)
def test_settings_that_are_scaled_to_the_steps_are_named(tiny_config, changes, named):
    short, long = both(tiny_config, changes)
    (told,) = obstacles(long, STEPS)
    assert named in told
    pairs = zip(values(short, STEPS), values(long, STEPS), strict=True)
    assert any((before != now).any() for before, now in pairs)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective.gamma_schedule": "linear", "objective.gamma_steps": 20},
        {"objective.gamma_schedule": "piecewise", "objective.gamma_boundaries": (2, 4, 6, 20)},
        {"objective.beta_schedule": "linear", "objective.beta_steps": 13},
        {"objective.entropy_schedule": "linear", "objective.entropy_steps": 13},
    ],
)
def test_validations_with_other_last_weights_are_named(tiny_config, changes):
    short, long = both(tiny_config, {**VALIDATED, **changes})
    (told,) = obstacles(long, STEPS)
    assert "still changes them after step 12" in told
    assert judged_by(short) != judged_by(long)


def test_validations_that_would_not_count_yet_are_named(tiny_config):
    """In the second of two cycles beta leaves its last value and comes back to it."""
    cycles = {"beta_schedule": "cyclic", "beta_steps": 24, "beta_cycles": 2, "beta_ramp": 0.5}
    changes = {f"objective.{key}": value for key, value in cycles.items()}
    short, long = both(tiny_config, {**VALIDATED, **changes})
    assert judged_by(short) == judged_by(long)
    assert obstacles(long, STEPS) == []
    _, stopping = both(tiny_config, {**VALIDATED, **changes, "train.stop_patience": 2})
    assert len(obstacles(stopping, STEPS)) == 1
