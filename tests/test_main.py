"""The command as a user types it, in real processes, or its two functions if these suffice."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import HANG, ROOT, records

from sfvae_jax import evaluate
from sfvae_jax.config import resolve
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.losses import base as objective


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def assert_one_line_error(done, status, *parts):
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("sfvae_jax: error: ")
    for part in parts:
        assert part in last


def test_a_run_writes_what_it_promises_and_nothing_else(run_main, tmp_path, tiny_config):
    home, workdir = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    changes = {"objective.name": "sampling_free", "model.hidden_sizes": (16, 8)}
    changes["objective.tau"] = 0.3
    done = run_main(workdir, changes=changes, quick=False, HOME=str(home), TMPDIR=str(home))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("--config.objective.tau is not read in this run: objective.name")
    assert list(home.iterdir()) == []
    files = {"config.json", "example.json", "metrics.jsonl", "results.json", "provenance.jsonl"}
    assert {path.name for path in workdir.iterdir()} == files | {"checkpoints", "figures"}

    # First and last step, and every log_every = 2 between; every value finite.
    logged = records(workdir)
    assert [record["step"] for record in logged] == [1, 2, 4, 6, 8, 10, 12]
    keys = {"step", "loss", "log_likelihood", "kl", "grad_norm", "param_norm", "learning_rate"}
    weights = {"gamma", "beta", "entropy_weight"}
    assert all(set(record) == keys | weights | {"steps_per_second"} for record in logged)
    assert np.isfinite([list(record.values()) for record in logged]).all()
    assert logged[-1]["loss"] < logged[0]["loss"]
    for record in logged:
        assert record["loss"] == pytest.approx(record["kl"] - record["log_likelihood"], rel=1e-5)

    found = results(workdir)
    assert found["step"] == 12
    measures = {"collapse_fraction", "kl_divergence", "reconstruction_error"}
    assert set(found["metrics"]) == measures | {"reconstruction_error_at_sample"}
    assert set(found["history"]) == {"5", "12"}
    assert found["history"]["12"] == pytest.approx(found["metrics"])
    assert found["published"]["rows"]["sampling"]["collapse_fraction"]["1000"] == [0.6, 0.157]
    assert found["config"] == json.loads((workdir / "config.json").read_text())

    for name in ("training", "latent_kl", "reconstructions"):
        assert (workdir / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for part in ("device: 1 x cpu", "mnist_5k, 40 training images", "parameters", str(workdir)):
        assert part in done.stderr
    assert "step 12/12" in done.stderr
    assert "\r" not in done.stderr

    # To train again has nothing left to do, and to evaluate again finds the same.
    before = (workdir / "metrics.jsonl").read_bytes()
    train(tiny_config(**changes), workdir)
    evaluate.evaluate(tiny_config(**changes), workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == before
    assert results(workdir)["metrics"] == pytest.approx(found["metrics"])

    # Another config is refused in the same folder, and nothing is lost.
    with pytest.raises(
        UsageError, match=r"learning_rate is 0\.001 in that run and 0\.5 in this one"
    ):
        train(tiny_config(**changes, **{"train.learning_rate": 0.5}), workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow  # as two processes do, by default
def test_two_devices_take_the_steps_of_one(run_main, tmp_path, tiny_config):
    """One device in a process of its own, which only trains; two devices in this process."""
    done = run_main(tmp_path / "1", "--config.objective.name=sampling", "--mode=train")
    assert done.returncode == 0, done.stderr
    assert "device: 1 x cpu" in done.stderr
    assert "metrics" not in results(tmp_path / "1")
    assert not (tmp_path / "1" / "figures").exists()
    assert jax.local_device_count() == 2
    train(tiny_config(**{"objective.name": "sampling"}), tmp_path / "2")
    logged = [records(tmp_path / devices) for devices in ("1", "2")]
    for one, two in zip(*logged, strict=True):
        for key in ("loss", "log_likelihood", "kl", "grad_norm"):
            assert two[key] == pytest.approx(one[key], rel=1e-5, abs=1e-6), key


@pytest.mark.slow  # test_not_finite trains in this process
def test_a_loss_that_is_not_finite_stops_the_run(run_main, tmp_path):
    flags = ("--config.train.learning_rate=1e18", "--config.train.checkpoint_every=1")
    done = run_main(tmp_path, *flags, "--config.objective.name=sampling_free")
    assert_one_line_error(
        done, 1, "objective 'sampling_free'", "not finite at step 1", "there is no checkpoint"
    )
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert records(tmp_path) == []


def test_the_last_good_checkpoint_is_kept(tmp_path, tiny_config, monkeypatch):
    """The objective breaks at step 7; the checkpoint of step 5 is kept and can be evaluated."""
    changes = {"objective.gamma_schedule": "piecewise", "objective.gamma_values": (0.9, 0.5)}
    config = tiny_config(**changes, **{"objective.name": "sampling_free"})

    def build_broken(config, axis_name):
        healthy = objective.build_loss(config, axis_name)

        def loss(rng, functions, x, weights):
            value, metrics = healthy(rng, functions, x, weights)
            return jax.numpy.where(weights.gamma < 0.6, jax.numpy.nan, value), metrics

        return loss

    monkeypatch.setattr("sfvae_jax.training.step.build_loss", build_broken)
    with pytest.raises(RunError, match="not finite at step 7; checkpoint 5 is kept"):
        train(config, tmp_path)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"4", "5"}
    _, state = evaluate.restore(resolve(config), Workdir(tmp_path), (28, 28, 1))
    assert int(state.step) == 5
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_workdir_at_work_is_refused(tmp_path, tiny_config):
    """Both training and evaluation are refused, and nothing is changed."""
    config = tiny_config()
    with Workdir(tmp_path).claimed(resolve(config)):
        for work in (train, evaluate.evaluate):
            with pytest.raises(UsageError, match=f"another process is at work.*pid {os.getpid()}"):
                work(config, tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"config.json", ".lock"}
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective.name": "sampling", "likelihood.name": "discretized_logistic"},
            "256 levels; npz:.* holds float32 pixels, give uint8",
        ),
        (
            {"objective.name": "wae_mmd", "data.num_examples": 1},
            "requires batches of 2 exam",
        ),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, tiny_config, changes, message):
    images = np.random.default_rng(0).random((5, 4, 4), np.float32)
    np.savez(tmp_path / "a.npz", x_train=images, x_test=images)
    base = {"data.name": f"npz:{tmp_path}/a.npz", "data.num_examples": 0}
    with pytest.raises(UsageError, match=message):
        train(tiny_config(**base | changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.num_examples": 41}, "a batch of 41 cannot be shared evenly by 2 devices"),
        ({"data.num_examples": 6000}, "data.num_examples is 6000, but .* 5000"),
        ({"train.batch_size": 50}, "train.batch_size 50 is more than the 40 examples"),
        ({"data.name": "npz:none.npz"}, "there is no file '.*none.npz'"),
        ({"evaluations.part": "test"}, "mnist_5k has no test split.*data.num_test"),
    ],
)
def test_what_the_data_cannot_give_is_refused(tmp_path, tiny_config, changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        train(tiny_config(**changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_bucket_is_no_workdir(run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert_one_line_error(
        run_main("gs://b/r"), 2, "--workdir=gs://b/r is a URL", "Mount the bucket"
    )
    assert list(tmp_path.iterdir()) == []


def test_without_a_workdir_a_run_is_named_by_how_it_is_trained(tmp_path):
    """The log says so first; here JAX has no device, and nothing is written.

    What is measured is not part of the name: a trained run can be evaluated again.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sfvae_jax.main"),
            f"--config={ROOT}/configs/mnist_collapse.py:laptop",
            "--config.seed=3",
            "--config.evaluations.names=('reconstruction',)",
            "--mode=evaluate",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "nonsense"},
        capture_output=True,
        text=True,
    )
    first, last = done.stderr.splitlines()
    start = "no --workdir is given: this run goes to runs/mnist_collapse-laptop,seed=3-"
    assert first.startswith(start)
    assert_one_line_error(done, 2, "JAX_PLATFORMS=nonsense: JAX has no such device here", "cpu")
    assert last.startswith("sfvae_jax: error: ")
    assert list(tmp_path.iterdir()) == []


WAITING_THREAD = """
import pathlib, sys, threading, time
from sfvae_jax import main
from sfvae_jax.runtime.lock import FolderLock
lock = FolderLock(pathlib.Path(sys.argv[1]))
threading.Thread(target=time.sleep, args=(3600,)).start()
main._fail("the disk is full", 1)
"""


def test_an_error_does_not_wait_for_threads(tmp_path):
    """Those of Orbax may wait for minutes after a save that failed. No lock is left behind."""
    command = [sys.executable, "-c", WAITING_THREAD, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, done.stderr) == (1, "sfvae_jax: error: the disk is full\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_laptop_preset_shows_the_effect(root, tmp_path):
    """Both objectives, seed 0: far less collapse at lower error, within 3 minutes each."""
    measures = {}
    for name in ("sampling", "sampling_free"):
        flags = [f"--config.objective.name={name}", f"--workdir={tmp_path / name}"]
        config = f"--config={root}/configs/mnist_collapse.py:laptop"
        start = time.monotonic()
        subprocess.run([sys.executable, "-m", "sfvae_jax.main", config, *flags], check=True)
        assert time.monotonic() - start < 180
        measures[name] = results(tmp_path / name)["metrics"]
    sampling, free = measures["sampling"], measures["sampling_free"]
    assert sampling["collapse_fraction"] > 0.3
    assert free["collapse_fraction"] < 0.05
    assert free["reconstruction_error"] < 0.2 * sampling["reconstruction_error"]
    assert free["reconstruction_error_at_sample"] < sampling["reconstruction_error_at_sample"]


def test_nothing_to_evaluate(tmp_path, tiny_config):
    with pytest.raises(UsageError, match="holds no run; train first"):
        evaluate.evaluate(tiny_config(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_users_own_arrays(tmp_path, tiny_config, caplog):
    """Vectors of 20 numbers, mini-batches that do not divide them, a test split, linear gamma."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x_train=rng.random((30, 20)), x_test=rng.random((10, 20)))
    changes = {
        "data.name": f"npz:{tmp_path}/own.npz",
        "data.num_examples": 0,
        "train.batch_size": 8,
        "evaluations.part": "test",
        "objective.name": "sampling_free",
        "objective.gamma_schedule": "linear",
    }
    config = tiny_config(**changes)
    with caplog.at_level(logging.INFO, "sfvae_jax"):
        train(config, tmp_path / "run")
    assert "30 training images of 20" in caplog.text
    assert np.isfinite(list(evaluate.evaluate(config, tmp_path / "run").values())).all()
    gammas = [record["gamma"] for record in records(tmp_path / "run")]
    assert gammas == sorted(gammas, reverse=True)
    assert gammas[0] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("--config.objective.gamma=1.5", ["objective.gamma must be a number in [0, 1], got 1.5"]),
        ("--config.objective.gama=1", ["unknown config key", "gamma"]),
        ("--config.train.steps=many", ["train.steps", "'many'"]),
        ("--config=configs/none.py", ["No such file", "configs/none.py"]),
        ("--config=configs/mnist_collapse.py:desktop", ["unknown preset 'desktop'", "laptop"]),
        ("--mode=tain", ["--mode=tain", "train_and_evaluate"]),
        ("--wrkdir=x", ["Unknown command line flag 'wrkdir'"]),
        ("stray", ["unexpected argument 'stray'"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run_main, tmp_path, flag, parts):
    done = run_main(tmp_path / "run", flag)
    assert_one_line_error(done, 2, *parts)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_help_helps(run_main, tmp_path):
    done = run_main(tmp_path / "run", "--help")
    text = done.stdout + done.stderr
    for part in ("--workdir", "--mode", "configs/mnist_collapse.py:laptop", "objective.name"):
        assert part in text
    assert not Path(tmp_path / "run").exists()
