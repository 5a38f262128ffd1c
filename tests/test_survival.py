"""Runs that are killed or stopped, as real processes: nothing is lost, and no file is wrong."""

import json
import os
import random
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from helpers import HANG, checkpoint_steps, records, wait_for

from sfvae_jax import data, evaluate
from sfvae_jax.config import resolve
from sfvae_jax.runs.files import provenance
from sfvae_jax.runs.workdir import Workdir

LONG = {
    "train.steps": 1200,
    "train.steps_per_call": 8,
    "train.checkpoint_every": 100,
    "evaluations.steps": (250, 1200),
    "evaluations.names": ("kl_divergence",),
    "objective.name": "sampling",
    "train.batch_size": 16,
    "train.learning_rate_schedule": "burda",
}


@pytest.fixture
def start(run_main, tmp_path):
    """Starts the command on a workdir. The first process compiles, the others find what it kept."""

    def start(workdir, changes=LONG, mode="train"):
        return run_main(
            workdir,
            f"--mode={mode}",
            start=subprocess.Popen,
            changes=changes,
            XDG_CACHE_HOME=str(tmp_path / "cache"),
            JAX_COMPILATION_CACHE_DIR=None,
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=None,
        )

    return start


def stop(process, number):
    """Sends a signal; returns the output. The process must end with the status of that signal."""
    process.send_signal(number)
    said = process.communicate(timeout=HANG)[1]
    wanted = -number if number == signal.SIGKILL else 128 + number
    assert process.returncode in (wanted, 0), said
    return said


def assert_no_lie(workdir):
    """Checks that results.json holds no step beyond the checkpoints; both can be read."""
    path = workdir / "results.json"
    if not path.exists():
        return
    results = json.loads(path.read_text())
    measured = [int(step) for step in results.get("history", {})] + [results.get("step", 0)]
    assert max(checkpoint_steps(workdir)) >= max(measured)
    assert results["config"] == json.loads((workdir / "config.json").read_text())


def assert_the_same_run(folder, other, config):
    config = resolve(config)
    shape = data.open_examples(config.data, "train").shape[1:]
    states = [evaluate.restore(config, Workdir(path), shape)[1] for path in (folder, other)]
    assert int(states[0].step) == config.train.steps
    jax.tree.map(np.testing.assert_array_equal, *states)
    logged = [records(path) for path in (folder, other)]
    for record in (*logged[0], *logged[1]):
        record.pop("steps_per_second")
    assert logged[0] == logged[1]
    found = [json.loads((path / "results.json").read_text()) for path in (folder, other)]
    assert set(found[0]["history"]) == set(map(str, config.evaluations.steps))
    assert found[0] == found[1]


def test_stopped_and_started_again_ends_with_the_same_bits(start, tmp_path, tiny_config):
    """SIGKILL in mid-run, then SIGINT, each time the same command again: parameters, metrics and
    measures are those of a run that was never stopped."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    process = start(stopped)
    wait_for(lambda: (stopped / "checkpoints" / "300").exists(), process)
    stop(process, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert_no_lie(stopped)
    assert any((tmp_path / "cache" / "sfvae_jax" / "xla").iterdir())

    process = start(stopped)
    wait_for(lambda: max(checkpoint_steps(stopped)) >= 600, process)
    said = stop(process, signal.SIGINT)
    assert process.returncode == 130, said
    assert "resuming from the checkpoint of step" in said
    assert "SIGINT: saving after the steps that the devices are taking" in said
    assert f"saved at step {max(checkpoint_steps(stopped))} of 1200" in said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        "sfvae_jax: error: stopped by SIGINT; the same command resumes from the last checkpoint"
    )
    assert_no_lie(stopped)

    for folder in (stopped, whole):
        process = start(folder)
        said = process.communicate()[1]
        assert process.returncode == 0, said
    assert_the_same_run(stopped, whole, tiny_config(**LONG))

    # The time of each process is recorded, that of the killed one too.
    pieces = provenance.read(Workdir(stopped).provenance)
    first, second, third = (piece["from_step"] for piece in pieces)
    assert first == 0 < second < third < 1200
    assert all(piece["processor_seconds"] > 0 for piece in pieces)


# What is killed at random: changes to LONG, which each takes its own path through the train loop.
KINDS = {
    "plain": {},
    "streamed": {"data.device_bytes": 1},
    "batch_norm": {
        "model.name": "conv_bn",
        "model.channels": (4, 6),
        "data.image_size": 16,
        "data.num_valid": 20,
        "train.validate_every": 120,
        "train.plateau_patience": 2,
    },
    "sequences": {
        "data.name": "equations",
        "data.max_length": 15,
        "model.name": "recurrent",
        "likelihood.name": "categorical",
    },
}
NUM_KILLS = int(os.environ.get("SFVAE_NUM_KILLS", "8"))  # of each kind
SEED = int(os.environ.get("SFVAE_KILLS_SEED", "20"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_again_and_again(start, tmp_path, tiny_config, kind):
    """SIGKILL and SIGTERM mixed, at moments drawn by a seed between a start and some seconds of
    training, evaluations and saves at every few steps: the end is that of an undisturbed run."""
    num_steps = 12_000 if kind in ("plain", "streamed") else 4_800
    changes = {
        **LONG,
        **KINDS[kind],
        "train.steps": num_steps,
        "train.checkpoint_every": 24,
        "evaluations.steps": tuple(range(400, num_steps + 1, 400)),
    }
    draw = random.Random(f"{SEED} {kind}")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(whole, changes, "train_and_evaluate")
    assert process.wait() == 0

    reached = []
    for kill in range(NUM_KILLS):
        process = start(killed, changes, "train_and_evaluate")
        time.sleep(draw.uniform(0.5, 16))
        if process.poll() is None:
            stop_or_kill(process, draw.choice((signal.SIGKILL, signal.SIGTERM)))
        else:
            assert process.returncode == 0, process.communicate()[1]
        assert_no_lie(killed)
        reached.append(max(checkpoint_steps(killed), default=0))
        assert sorted(reached) == reached, kill  # no finished step is lost
    assert max(reached) > 0  # it was killed while it worked
    process = start(killed, changes, "train_and_evaluate")
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert_the_same_run(killed, whole, tiny_config(**changes))


def stop_or_kill(process, number):
    """Does the same as `stop`; before the handlers are installed, SIGTERM ends Python at once."""
    process.send_signal(number)
    said = process.communicate(timeout=HANG)[1]
    assert process.returncode in (-number, 128 + number, 0), said
    assert "Traceback" not in said
