"""A run that goes on to more steps, beside one that was asked for all of them at once."""

import json
import logging

import pytest
from helpers import checkpoint_steps, records

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluate import evaluate
from sfvae_jax.runs.checkpoints.proof import read
from sfvae_jax.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

STOPPING = {"data.num_valid": 10, "train.validate_every": 3, "train.stop_patience": 2}


def arrays(workdir, step):
    """The arrays of a checkpoint, as bytes."""
    found, _ = read(workdir / "checkpoints" / str(step), lambda layout: None, lambda name: True)
    return {name: array.tobytes() for name, array in found.items()}


def metrics(workdir):
    return [{k: v for k, v in r.items() if k != "steps_per_second"} for r in records(workdir)]


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def config_of(workdir):
    return json.loads((workdir / "config.json").read_text())


@pytest.mark.parametrize(
    "changes",
    [{}, {**STOPPING, "train.stop_patience": 9, "train.plateau_patience": 1}],
    ids=["plain", "validated"],
)
def test_it_equals_a_run_of_all_steps_to_the_bit(tmp_path, tiny_config, caplog, changes):
    at_once, went_on = tmp_path / "at_once", tmp_path / "went_on"
    long = tiny_config(**{**changes, "train.steps": 20})
    train(long, at_once)
    evaluate(long, at_once)

    short = tiny_config(**changes)
    train(short, went_on)
    evaluate(short, went_on)
    assert results(went_on)["config"]["train"]["steps"] == 12
    caplog.clear()
    with caplog.at_level(logging.INFO, "sfvae_jax"):
        train(long, went_on)
    assert "the run of 12 steps goes on to 20: train.steps in config.json is changed" in caplog.text
    assert "resuming from the checkpoint of step 12 of 20" in caplog.text
    assert config_of(went_on) == config_of(at_once)
    evaluate(long, went_on)
    assert arrays(went_on, 20) == arrays(at_once, 20)
    assert metrics(went_on) == metrics(at_once)
    assert results(went_on) == results(at_once)
    lines = (went_on / "provenance.jsonl").read_text().splitlines()
    assert [json.loads(line).get("steps_before") for line in lines] == [None, None, 12, None]


def test_an_interrupted_run_goes_on_too(tmp_path, tiny_config):
    run, at_once = tmp_path / "run", tmp_path / "at_once"

    def stop(step, values):
        if step >= 6:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        train(tiny_config(), run, on_metrics=stop)
    assert max(checkpoint_steps(run)) < 12
    long = tiny_config(**{"train.steps": 20})
    train(long, run)
    train(long, at_once)
    assert arrays(run, 20) == arrays(at_once, 20)


def test_a_run_that_stopped_early_stays_so(tmp_path, tiny_config, caplog):
    """As it would have if all the steps had been asked for at once."""
    changes = {**STOPPING, "train.stop_patience": 1, "train.learning_rate": 1e-30}
    long = tiny_config(**changes, **{"train.steps": 20})
    run, at_once = tmp_path / "run", tmp_path / "at_once"
    train(tiny_config(**changes), run)
    evaluate(tiny_config(**changes), run)
    assert results(run)["ended_at"] == 6
    with caplog.at_level(logging.INFO, "sfvae_jax"):
        train(long, run)
    assert "stopped early at step 6 of 20" in caplog.text
    assert results(run)["ended_at"] == 6
    train(long, at_once)
    assert config_of(run) == config_of(at_once)
    assert checkpoint_steps(run) == checkpoint_steps(at_once)
    assert arrays(run, 6) == arrays(at_once, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.steps": 8}, r"train\.steps is 12 in that run and 8 in this one"),
        ({"train.steps": 20, "seed": 5}, r"seed is 0 .*train\.steps is 12 "),
        (
            {"train.steps": 20, "objective.beta_schedule": "linear"},
            "objective.beta_schedule is",
        ),
    ],
)
def test_other_changes_are_refused_as_ever(trained_run, tiny_config, changes, message):
    before = (trained_run / "config.json").read_bytes()
    with pytest.raises(UsageError, match=message):
        train(tiny_config(**changes), trained_run)
    assert (trained_run / "config.json").read_bytes() == before


def test_a_schedule_that_is_scaled_to_the_steps_is_named(tmp_path, tiny_config):
    scaled = {"train.learning_rate_schedule": "cosine"}
    train(tiny_config(**scaled), tmp_path)
    with pytest.raises(
        UsageError,
        match=r"of 12 steps, which cannot go on to 20, .*: train\.learning_rate_schedule 'cosine'"
        r" is scaled .* or --config\.train\.steps=12",
    ):
        train(tiny_config(**scaled, **{"train.steps": 20}), tmp_path)
    assert config_of(tmp_path)["train"]["steps"] == 12


def test_an_evaluation_does_not_change_the_steps(trained_run, tiny_config):
    with pytest.raises(UsageError, match=r"train\.steps is 12"):
        evaluate(tiny_config(**{"train.steps": 20}), trained_run)
    assert config_of(trained_run)["train"]["steps"] == 12
