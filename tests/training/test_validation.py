"""The loss on held-out images, and the learning rate that follows it."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest
from helpers import parallel_steps

from sfvae_jax import evaluation, models
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.measuring.trained import trained_model
from sfvae_jax.train import train
from sfvae_jax.training.state import create_state, make_optimizer
from sfvae_jax.training.validation import Validation

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 6, 5), np.uint8)


def _validation(config):
    config = resolve(config)
    model = models.build(config, (6, 5))
    state = create_state(config, model, make_optimizer(config.train), (6, 5))
    validation = Validation(config, model, IMAGES)
    return config, model, state, validation


def test_the_loss_is_the_mean_over_the_images(tiny_config):
    """Batches of 4, 4 and 3 images; for a plain autoencoder it is the reconstruction error."""
    changes = {"objective.name": "autoencoder", "evaluations.batch_size": 4}
    config, model, state, validation = _validation(tiny_config(**changes))
    trained = trained_model(config, model, state, IMAGES)
    errors, _ = evaluation.squared_errors(trained, 1)
    np.testing.assert_allclose(validation.loss(state), errors.mean(), rtol=1e-5)
    assert validation.loss(state) == validation.loss(state)


def test_the_learning_rate_halves_on_a_plateau(tiny_config):
    """Patience 2: halved at the second validation in a row that is no better."""
    changes = {"train.validate_every": 1, "train.plateau_patience": 2}
    _, _, state, validation = _validation(tiny_config(**changes))
    scales = []
    for loss in (5.0, 4.0, 4.0, 4.5, 3.0, 3.0, 2.0, 2.0, 2.0):
        state = validation.observe(state, loss)
        scales.append(float(state.plateau.scale))
    assert scales == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_no_validation_but_the_first_compiles_anything(tiny_config, compiled):
    """What is compiled anew each time is kept: 1.9 MB a validation."""
    changes = {"train.validate_every": 1, "train.plateau_patience": 2}
    _, _, state, validation = _validation(tiny_config(**changes))
    with compiled() as names:
        state = validation.observe(state, validation.loss(state))
    assert len(names) > 1  # one that sees nothing would pass what follows
    with compiled() as names:
        for _ in range(5):
            state = validation.observe(state, validation.loss(state))
    assert names == []


@pytest.mark.parametrize("start", [-1e4, 1e4])
def test_any_new_least_loss_is_no_plateau(tiny_config, start):
    """Improvements of a millionth count, and worse losses do not, of negative losses too."""
    changes = {"train.validate_every": 1, "train.plateau_patience": 2}
    _, _, state, validation = _validation(tiny_config(**changes))
    for step in range(6):
        state = validation.observe(state, start - 1e-2 * step)
    assert float(state.plateau.scale) == 1.0
    for _ in range(2):
        state = validation.observe(state, start)
    assert float(state.plateau.scale) == 0.5


def test_pairs_are_never_validated_alone(tiny_config):
    """11 images by 5: a rest of one would have no pair."""
    changes = {"objective.name": "wae_mmd", "evaluations.batch_size": 5}
    _, _, state, validation = _validation(tiny_config(**changes))
    assert np.isfinite(validation.loss(state))


def test_without_patience_nothing_changes(tiny_config):
    _, _, state, validation = _validation(tiny_config(**{"train.validate_every": 1}))
    for _ in range(20):
        state = validation.observe(state, 1.0)
    assert float(state.plateau.scale) == 1.0


def test_a_run_halves_and_resumes(tiny_config, tmp_path, monkeypatch):
    """Nothing improves at a learning rate of next to 0: halved at the second validation.

    Beside its schedule; what is written down is the rate that the step took.
    """
    changes = {
        "data.num_valid": 20,
        "train.learning_rate": 1e-30,
        "train.learning_rate_schedule": "cosine",
        "train.validate_every": 4,
        "train.plateau_patience": 1,
        "train.checkpoint_every": 4,
        "evaluations.steps": (),
    }
    config = tiny_config(**changes)
    train(config, tmp_path / "whole")
    records = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").open()]
    validated = {r["step"]: r["validation_loss"] for r in records if "validation_loss" in r}
    assert list(validated) == [4, 8, 12]
    assert len(set(validated.values())) == 1
    scheduled = {n: 1e-30 * 0.5 * (1 + np.cos(np.pi * (n - 1) / 12)) for n in range(1, 13)}
    rates = {
        record["step"]: record["learning_rate"] / scheduled[record["step"]] for record in records
    }
    expected = {1: 1, 2: 1, 4: 1, 6: 1, 8: 1, 10: 0.5, 12: 0.5}
    assert rates == pytest.approx(expected, rel=1e-4)

    observe = Validation.observe

    def stop(self, state, loss):
        if int(state.step) == 12:
            raise KeyboardInterrupt
        return observe(self, state, loss)

    monkeypatch.setattr(Validation, "observe", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut")
    monkeypatch.setattr(Validation, "observe", observe)
    train(config, tmp_path / "cut")
    cut = [json.loads(line) for line in (tmp_path / "cut/metrics.jsonl").open()]
    for record in (*records, *cut):
        record.pop("steps_per_second")
    assert cut == records


def test_a_reduced_rate_reduces_the_update(tiny_config):
    config, model, state, _ = _validation(tiny_config(**{"objective.name": "autoencoder"}))
    optimizer = optax.sgd(1e-2)
    state = create_state(config, model, optimizer, (6, 5))
    steps = parallel_steps(config, model, optimizer, IMAGES, 10)
    state = jax.tree.map(np.array, state)
    moves = []
    for scale in (1.0, 0.5):
        plateau = state.plateau._replace(scale=np.float32(scale))
        placed = steps.place(dataclasses.replace(state, plateau=plateau))
        after, _ = steps(placed, np.arange(10)[None])
        moves.append(jax.tree.map(lambda a, b: np.asarray(a) - b, after.params, state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 2 * b, rtol=1e-3, atol=1e-6), *moves)


def test_more_steps_between_validations_than_steps_are_refused(tiny_config):
    config = tiny_config(**{"train.validate_every": 13})
    with pytest.raises(UsageError, match="13 is more than train.steps 12"):
        resolve(config)


def test_a_plateau_needs_validations(tiny_config):
    config = tiny_config(**{"train.plateau_patience": 3})
    with pytest.raises(UsageError, match=r"set train\.validate_every"):
        resolve(config)
