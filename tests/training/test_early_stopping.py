"""Training stops when the held-out loss does not fall, and the model that did best is measured."""

import dataclasses
import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import checkpoint_steps, records

from sfvae_jax import evaluate, models
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.measuring.final_measures import has_measures
from sfvae_jax.reporting.runs import read_run
from sfvae_jax.runs.checkpoints.restoring import read_params
from sfvae_jax.runs.files.results_file import up_to
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.early_stopping import best_of, has_stopped, with_best
from sfvae_jax.training.state import create_state, make_optimizer
from sfvae_jax.training.validation import Validation

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 6, 5), np.uint8)
# Least at the third; an equal one is no better, and the second fall is not deep enough.
LOSSES = (5.0, 4.0, 3.0, 3.0, 3.5, 3.25, 2.0, 1.0)
STOPPING = {"train.validate_every": 1, "train.stop_patience": 3}


@pytest.fixture
def observed(tiny_config):
    """(step, best step, stale, scale of the learning rate, stopped) after each validation."""

    def observe(losses, **changes):
        config = resolve(tiny_config(**STOPPING | changes))
        model = models.build(config, (6, 5))
        state = create_state(config, model, make_optimizer(config.train), (6, 5))
        state = with_best(state, config.train)
        validation = Validation(config, model, IMAGES)
        found = []
        for step, loss in enumerate(losses, 1):
            params = jax.tree.map(lambda leaf, step=step: 0.0 * leaf + step, state.params)
            state = dataclasses.replace(state, step=jnp.asarray(step, jnp.int32), params=params)
            state = validation.observe(state, loss)
            best, stopped = state.best, has_stopped(state, config.train)
            assert all((leaf == best.step).all() for leaf in jax.tree.leaves(best.params))
            scale = float(state.plateau.scale)
            found.append((int(best.step), int(best.stale), scale, stopped))
        return found

    return observe


def test_the_stop_and_the_best_step_of_a_known_series(observed):
    """As Keras's and Lightning's EarlyStopping count: stopped at the third that is no better."""
    best, stale, _, stopped = zip(*observed(LOSSES), strict=True)
    assert best == (1, 2, 3, 3, 3, 3, 7, 8)
    assert stale == (0, 0, 0, 1, 2, 3, 0, 0)
    assert stopped == (False,) * 5 + (True,) + (False,) * 2


def test_plateaus_halve_the_learning_rate_beside_it(observed):
    """Both see every validation; a halving does not begin the count to the stop anew."""
    found = observed(LOSSES[:6], **{"train.plateau_patience": 2})
    assert [scale for _, _, scale, _ in found] == [1, 1, 1, 1, 0.5, 0.5]
    assert [stale for _, stale, _, _ in found] == [0, 0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("annealed", "stale"),
    [
        # At its last value from step 5 on.
        ({"beta_schedule": "linear", "beta_steps": 4}, [0, 0, 0, 0, 1, 2, 3, 4]),
        # Two cycles of four steps, 0, 1, 1, 1: the second has left its last value once more.
        (
            {"beta_schedule": "cyclic", "beta_steps": 8, "beta_cycles": 2, "beta_ramp": 0.25},
            [0, 0, 0, 0, 0, 1, 2, 3],
        ),
        # Over all steps: every validation is of another weight.
        ({"beta_schedule": "linear"}, [0] * 8),
    ],
)
def test_annealing_is_no_plateau(observed, annealed, stale):
    """Until the weight has its last value for good nothing is stale; the best is kept."""
    settings = {f"objective.{key}": value for key, value in annealed.items()}
    found = observed([1.0] + [2.0] * 7, **{"objective.name": "sampling", **settings})
    assert [one[1] for one in found] == stale
    assert {best for best, _, _, _ in found} == {1}


def test_without_patience_the_state_is_as_it_was(tiny_config):
    config = resolve(tiny_config())
    state = create_state(config, models.build(config, (6, 5)), make_optimizer(config.train), (6, 5))
    assert with_best(state, config.train) is state
    assert best_of(state) is state
    assert not has_stopped(state, config.train)


def test_it_counts_validations(tiny_config):
    with pytest.raises(UsageError, match=r"train\.stop_patience counts .* train\.validate_every"):
        resolve(tiny_config(**{"train.stop_patience": 3}))


# Of 24 steps, validated every 3: least at step 9, and stopped at step 15.
RUN = {
    "data.num_valid": 20,
    "train.steps": 24,
    "train.validate_every": 3,
    "train.stop_patience": 2,
    "train.checkpoints_kept": 1,
    "evaluations.steps": (6, 12, 21),
    "evaluations.names": ("kl_divergence",),
}
SERIES = {3: 5.0, 6: 4.0, 9: 3.0, 12: 3.5, 15: 3.0}


@pytest.fixture(scope="module")
def series():
    """Makes validations return this series, for any model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validation, "loss", lambda self, state: SERIES[int(state.step)])
        patch.setattr(evaluate, "draw", lambda *unused: None)
        yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, tiny_config, series):
    """The run, measured at its end."""
    workdir = tmp_path_factory.mktemp("early") / "run"
    train(tiny_config(**RUN), workdir)
    evaluate.evaluate(tiny_config(**RUN), workdir)
    return workdir


def _state(workdir, config):
    return evaluate.restore(resolve(config), Workdir(workdir), (28, 28, 1))[1]


def _results(workdir):
    return json.loads((workdir / "results.json").read_text())


def test_a_run_stops_and_its_best_model_is_measured(stopped, tiny_config, tmp_path):
    """It is the one that a run of so many steps ends with, to the bit."""
    assert [r["step"] for r in records(stopped)] == [1, 2, 3, 4, 6, 8, 9, 10, 12, 14, 15]
    assert checkpoint_steps(stopped) == {15}
    state = _state(stopped, tiny_config(**RUN))
    results = _results(stopped)
    assert (results["step"], results["ended_at"]) == (9, 15)
    assert set(results["history"]) == {"6", "12"}

    shorter = tiny_config(**RUN | {"train.steps": 9, "train.stop_patience": 0})
    train(shorter, tmp_path)
    ends = (best_of(state), _state(tmp_path, shorter))
    assert [int(end.step) for end in ends] == [9, 9]
    jax.tree.map(np.testing.assert_array_equal, *(end.params for end in ends))
    folders = [folder / "checkpoints" for folder in (stopped, tmp_path)]
    taken = [read_params(folder, lambda name: True, lambda layout: None) for folder in folders]
    jax.tree.map(np.testing.assert_array_equal, *taken)


def test_a_run_that_has_stopped_takes_no_further_step(stopped, tiny_config, tmp_path, caplog):
    run = shutil.copytree(stopped, tmp_path / "run")
    with caplog.at_level(logging.INFO, "sfvae_jax"):
        train(tiny_config(**RUN), run)
    assert "stopped early at step 15 of 24: the loss on the valid split was lowest at step 9" in (
        caplog.text
    )
    assert records(run) == records(stopped)
    assert _results(run) == _results(stopped)


def test_a_run_cut_before_its_stop_goes_on_to_the_same_bits(stopped, tiny_config, tmp_path):
    """Killed before the validation of step 12: its last checkpoint knows of step 6 as the best."""
    run, config = tmp_path / "run", tiny_config(**RUN | {"train.checkpoints_kept": 9})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validation, "observe", _killed_at(12))
        with pytest.raises(KeyboardInterrupt):
            train(config, run)
    assert checkpoint_steps(run) == {4, 6, 8}
    assert int(best_of(_state(run, config)).step) == 6
    train(config, run)
    ends = [_state(folder, config) for folder in (run, stopped)]
    jax.tree.map(np.testing.assert_array_equal, *ends)


def _killed_at(step):
    observe = Validation.observe

    def killed(self, state, loss):
        if int(state.step) == step:
            raise KeyboardInterrupt
        return observe(self, state, loss)

    return killed


def test_a_sweep_and_a_report_know_that_it_has_ended(stopped, tiny_config):
    config, results = resolve(tiny_config(**RUN)), _results(stopped)
    assert has_measures(results, config)
    told = results.pop("ended_at")
    assert not has_measures(results, config)
    results["ended_at"] = told
    assert "ended_at" in up_to(15, results)
    lost = up_to(14, results)  # the last checkpoint was: the run is not at its end
    assert "ended_at" not in lost
    assert lost["step"] == 9
    assert read_run(stopped / "results.json")["step"] == 24  # in the column of the others
