"""train(config, workdir, on_metrics=f): f receives what metrics.jsonl and results.json hold."""

import json
import os
import signal

import jax
import numpy as np
import pytest
from helpers import checkpoint_steps, records

from sfvae_jax.config import resolve
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.evaluate import restore
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime.signals import Stopped, StopSignals
from sfvae_jax.train import train
from sfvae_jax.watching.watchers import Watchers


def values(record):
    return {name: value for name, value in record.items() if name != "step"}


def expected(workdir):
    """A function receives the records of a whole run, and measures after those of their step."""
    history = json.loads((workdir / "results.json").read_text())["history"]
    told = []
    for record in records(workdir):
        told.append((record["step"], values(record)))
        measures = history.get(str(record["step"]))
        if measures:
            told.append((record["step"], {f"measures/{k}": v for k, v in measures.items()}))
    # Step 5 is measured and not recorded; its measures come between those of 4 and 6.
    of_5 = {f"measures/{name}": value for name, value in history["5"].items()}
    told.insert([step for step, _ in told].index(6), (5, of_5))
    return told


@pytest.fixture(scope="module")
def whole(tiny_config, tmp_path_factory):
    """The workdir of a run that nothing stopped, and what its function was told."""
    workdir, told = tmp_path_factory.mktemp("whole"), []
    train(tiny_config(), workdir, on_metrics=lambda *given: told.append(given))
    return workdir, told


def params_of(workdir, config):
    _, state = restore(resolve(config), Workdir(workdir), (28, 28, 1))
    return jax.tree.leaves(jax.device_get(state.params))


def assert_same_params(workdir, other, config):
    for one, two in zip(params_of(workdir, config), params_of(other, config), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_is_no_function_is_refused_before_anything_is_written(tmp_path, tiny_config):
    with pytest.raises(UsageError, match="^on_metrics must be a function of a step .*, got 3$"):
        train(tiny_config(), tmp_path / "run", on_metrics=3)
    assert not (tmp_path / "run").exists()


def test_it_is_told_what_the_files_hold(whole):
    workdir, told = whole
    assert told == expected(workdir)
    assert [step for step, _ in told] == [1, 2, 4, 5, 6, 8, 10, 12, 12]
    assert all(type(value) is float for _, values in told for value in values.values())


def test_it_may_keep_and_change_what_it_is_given(tiny_config, tmp_path, whole):
    def spoil(step, metrics):
        metrics.clear()

    train(tiny_config(), tmp_path, on_metrics=spoil)
    mine, others = ([r.keys() for r in records(path)] for path in (tmp_path, whole[0]))
    assert mine == others


def test_a_run_that_is_over_tells_nothing_more(tiny_config, whole):
    train(tiny_config(), whole[0], on_metrics=lambda *given: pytest.fail(str(given)))


def test_an_error_stops_the_run_in_a_saved_state(tiny_config, tmp_path, whole, caplog):
    """As a search raises it that gives up a trial. The steps of the call were taken, and saved."""
    told = []

    def prune(step, metrics):
        told.append(step)
        if step == 6:
            raise LookupError("this trial is not promising")

    with pytest.raises(LookupError, match="not promising"):
        train(tiny_config(), tmp_path, on_metrics=prune)
    assert told == [1, 2, 4, 5, 6]
    assert max(checkpoint_steps(tmp_path)) == records(tmp_path)[-1]["step"] == 6
    assert "on_metrics failed at step 6: training saves and stops" in caplog.text
    assert not (tmp_path / ".lock").exists()

    train(tiny_config(), tmp_path, on_metrics=lambda step, _: told.append(step))
    assert told == [1, 2, 4, 5, 6, 8, 10, 12, 12], "no step twice"
    assert_same_params(tmp_path, whole[0], tiny_config())


@pytest.mark.parametrize(("at", "stands_at"), [(5, 5), (12, 12)])
def test_an_error_at_measures_loses_neither_them_nor_the_step(tiny_config, tmp_path, at, stands_at):
    def fail(step, metrics):
        if step == at and any(name.startswith("measures/") for name in metrics):
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        train(tiny_config(), tmp_path, on_metrics=fail)
    assert max(checkpoint_steps(tmp_path)) == stands_at
    assert str(at) in json.loads((tmp_path / "results.json").read_text())["history"]


def test_a_signal_saves_what_was_told(tiny_config, tmp_path, whole):
    """The function itself sends it, so that it comes in the call of step 8."""
    told = []

    def stop(step, metrics):
        told.append((step, values(metrics)))
        if step == 8:
            os.kill(os.getpid(), signal.SIGTERM)
            while not signals._received:
                pass

    with StopSignals() as signals, pytest.raises(Stopped):
        train(tiny_config(), tmp_path, on_metrics=stop, signals=signals)
    last = max(checkpoint_steps(tmp_path))
    assert last == told[-1][0] == 8
    train(tiny_config(), tmp_path, on_metrics=lambda step, given: told.append((step, given)))
    assert told == expected(tmp_path)
    assert_same_params(tmp_path, whole[0], tiny_config())


def test_steps_behind_the_last_checkpoint_are_told_again_and_that_is_said(
    tiny_config, tmp_path, caplog
):
    """The run ends as after SIGKILL; its last checkpoint is that of step 5."""

    def kill(step, metrics):
        if step == 6:
            raise KeyboardInterrupt  # unlike an error, it leaves no time to save

    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(), tmp_path, on_metrics=kill)
    assert max(checkpoint_steps(tmp_path)) == 5
    told = []
    with caplog.at_level("INFO", "sfvae_jax"):
        train(tiny_config(), tmp_path, on_metrics=lambda step, _: told.append(step))
    assert "on_metrics receives steps 6 to 6 again, because they are repeated" in caplog.text
    assert told == [6, 8, 10, 12, 12]


def test_measures_that_do_not_apply_are_left_out(tiny_config, tmp_path):
    """A deterministic autoencoder has no posterior whose divergence could be measured."""
    told = {}
    config = tiny_config(**{"objective.name": "autoencoder", "train.steps": 5})
    config.evaluations.steps = (5,)
    train(config, tmp_path, on_metrics=lambda step, metrics: told.update(metrics))
    history = json.loads((tmp_path / "results.json").read_text())["history"]["5"]
    assert history["kl_divergence"] is None
    assert "measures/kl_divergence" not in told
    assert told["measures/reconstruction_error"] == history["reconstruction_error"]


def test_only_the_main_process_tells_anything(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr("sfvae_jax.runtime.processes.is_main", lambda: False)
    files = Workdir(tmp_path / "run")
    given = {"tensorboard": True, "profile": (1, 2)}
    told = []
    with Watchers(resolve(tiny_config()), files, lambda *of: told.append(of), **given) as watchers:
        watchers.begin(0)
        with watchers.call(0, 3):
            pass
        watchers.recorded(3, [{"step": 1, "loss": 2.0}])
        watchers.measured(3, {"kl_divergence": 1.0}, [])
        watchers.saved()
    assert told == list(tmp_path.iterdir()) == []


def test_an_error_in_one_process_stops_all(tiny_config, tmp_path, monkeypatch):
    """Another one has seen none itself, and saves and stops with it."""
    watchers = Watchers(resolve(tiny_config()), Workdir(tmp_path), lambda *of: None)
    monkeypatch.setattr("sfvae_jax.runtime.processes.any_of", lambda flag: True)
    assert watchers.failed()
    with pytest.raises(RunError, match="another process of this run stopped"), watchers:
        pass
