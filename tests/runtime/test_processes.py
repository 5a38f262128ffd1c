"""Several real processes take the same steps as one, also if some of them end early."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import HANG, checkpoint_steps, records, wait_for

from sfvae_jax import evaluate
from sfvae_jax.config import resolve
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.train import train

BATCH_NORM = {
    "model.name": "conv_bn",
    "model.channels": (2, 4),
    "data.image_size": 16,
    "data.num_valid": 10,
    "train.validate_every": 6,
    "train.plateau_patience": 1,
    "train.stop_patience": 9,
    "train.optimizer": "adamw",
    "train.clip_norm": 50.0,
    "train.ema_decay": 0.9,
    "train.validate_ema": True,
    "evaluations.batch_size": 4,
}
BILBO = {"objective.name": "bilbo", "posterior.variance": 0.1}
NOT_EVALUATED = {"train.batch_size": 8, "evaluations.steps": ()}
RUNS = {
    "bilbo_and_batch_norm": {
        **NOT_EVALUATED,
        **BATCH_NORM,
        **BILBO,
        "evaluations.steps": (5, 12),
        "evaluations.names": ("kl_divergence",),
    },
}
SLOW_RUNS = {
    "elbo": {**NOT_EVALUATED, "objective.name": "sampling_free"},
    "bilbo": {**NOT_EVALUATED, **BILBO},
    "batch_norm": {**NOT_EVALUATED, **BATCH_NORM, "objective.name": "sampling"},
}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def final_params(workdir, config):
    side = config.data.image_size or 28
    _, state = evaluate.restore(resolve(config), Workdir(workdir), (side, side, 1))
    assert int(state.step) == config.train.steps
    best = (state.best.step, state.best.params) if config.train.stop_patience else ()
    return jax.device_get((state.params, state.batch_stats, state.average, best))


@pytest.mark.parametrize(
    ("named", "devices"), [(RUNS, 1), pytest.param(SLOW_RUNS, 2, marks=pytest.mark.slow)]
)
def test_two_processes_take_the_steps_of_one(tmp_path, tiny_config, monkeypatch, named, devices):
    """2 x 1 device, and 2 x 2, end where 1 x 2 and 1 x 1 do: an ELBO, batch statistics,
    BatchNorm. And by jit where by pmap."""
    runs = tmp_path / "runs.json"
    # Only the measures of several processes are looked at.
    not_measured = {name: {**changes, "evaluations.steps": ()} for name, changes in named.items()}
    by_jit = {name: {**changes, "train.parallelism": "jit"} for name, changes in named.items()}
    folders = {"two": named, "two_by_jit": by_jit}
    runs.write_text(
        json.dumps(
            [
                [f"{tmp_path}/{folder}/{name}", changes]
                for folder, changed in folders.items()
                for name, changes in changed.items()
            ]
        )
    )
    script = Path(__file__).with_name("train_many.py")
    arguments = [sys.executable, str(script), f"127.0.0.1:{free_port()}", "2"]
    flags = os.environ["XLA_FLAGS"].replace("device_count=2", f"device_count={devices}")
    both = [
        subprocess.Popen(
            [*arguments, str(index), str(runs)],
            env={**os.environ, "XLA_FLAGS": flags},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    assert jax.device_count() == 2
    for name, changes in not_measured.items():
        train(tiny_config(**changes), tmp_path / "devices" / name)
    monkeypatch.setattr("sfvae_jax.training.parallel.all_devices", lambda: jax.devices()[:1])
    for name, changes in not_measured.items():
        train(tiny_config(**changes), tmp_path / "one" / name)
    for process in both:
        output = process.communicate(timeout=HANG)[0]
        assert process.returncode == 0, output

    for name, changes in named.items():
        config = tiny_config(**changes)
        two = final_params(tmp_path / "two" / name, config)
        for how, tolerance in (("two_by_jit", 1e-6), ("devices", 1e-6), ("one", 1e-5)):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance),
                two,
                final_params(tmp_path / how / name, config),
            )
        # They were trained: nothing above compares initial values.
        steps = records(tmp_path / "two" / name)
        assert [record["step"] for record in steps] == [1, 2, 4, 6, 8, 10, 12]
        for two, one in zip(steps, records(tmp_path / "one" / name), strict=True):
            two.pop("steps_per_second"), one.pop("steps_per_second")
            assert two == pytest.approx(one, rel=1e-4, abs=1e-5)
        # Only process 0 tells anybody of them.
        folder = tmp_path / "two"
        files = [folder / f"{name}.told.{index}" for index in range(2)]
        told, nothing = (json.loads(file.read_text()) for file in files)
        assert (sorted({*told, 5}), nothing) == ([1, 2, 4, 5, 6, 8, 10, 12], [])
        assert len(list((folder / name / "tensorboard").iterdir())) == 1
        if config.evaluations.steps:
            for how in folders:
                results = json.loads((tmp_path / how / name / "results.json").read_text())
                assert set(results["history"]) == {"5", "12"}


@pytest.mark.slow
def test_two_processes_by_jit_give_the_bits_of_pmap(run_main, tmp_path, tiny_config):
    """With the XLA of a user."""
    changes = {"train.batch_size": 8, "evaluations.steps": (), "train.steps": 12}
    changes |= {"train.steps_per_call": 3, "train.checkpoint_every": 4}
    ends = []
    for parallelism in ("pmap", "jit"):
        own = {**changes, "train.parallelism": parallelism}
        both = start_all(run_main, tmp_path / parallelism, 2, [own, own], XLA_FLAGS=None)
        messages = [process.communicate(timeout=HANG)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], messages
        ends.append(final_params(tmp_path / parallelism, tiny_config(**changes)))
    jax.tree.map(np.testing.assert_array_equal, *ends)


LONG = {
    "train.steps": 1000,
    "train.steps_per_call": 5,
    "train.checkpoint_every": 50,
    "train.batch_size": 16,
    "objective.name": "sampling",
    "evaluations.steps": (),
    "evaluations.names": ("kl_divergence",),
}


def _one_device():
    return os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=1")


def start_all(run_main, workdir, number, changes=(), **more):
    """Starts the command in several processes; `changes` has the changes of each config."""
    address = f"--coordinator_address=127.0.0.1:{free_port()}"
    return [
        run_main(
            workdir,
            "--mode=train",
            address,
            f"--num_processes={number}",
            f"--process_id={index}",
            start=subprocess.Popen,
            changes={**LONG, **own},
            **{"XLA_FLAGS": _one_device(), **more},
        )
        for index, own in enumerate(changes or [{}] * number)
    ]


def wait_for_step(workdir, step, running):
    wait_for(lambda: step in checkpoint_steps(workdir), *running)


@pytest.mark.slow  # one process that is killed and stopped is in test_survival
def test_processes_that_die_or_are_stopped_go_on(run_main, tmp_path, tiny_config):
    """One of two is killed: the other ends with an error, soon. Both again: one is told to stop,
    and both save the same step. Then one process alone trains to the end, as if nothing had been.
    """
    workdir = tmp_path / "run"
    both = start_all(run_main, workdir, 2)
    wait_for_step(workdir, 100, both)
    both[1].kill()
    message = both[0].communicate(timeout=HANG)[1]
    assert both[0].returncode not in (0, None)
    last = message.splitlines()[-1]
    assert (
        "process 0 of 2 lost contact with the others" in last or "cannot write checkpoint" in last
    )
    assert "Traceback" not in message
    both[1].communicate()

    both = start_all(run_main, workdir, 2)
    wait_for_step(workdir, 250, both)
    both[1].send_signal(signal.SIGTERM)
    messages = [process.communicate(timeout=HANG)[1] for process in both]
    assert [process.returncode for process in both] == [143, 143], messages
    assert "resuming from the checkpoint of step" in messages[0]
    assert "stopped by SIGTERM" in messages[0]
    assert "resuming" not in messages[1]
    reached = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert f"saved at step {reached} of 1000" in messages[0]
    assert 250 <= reached < 1000

    config = tiny_config(**LONG)
    train(config, workdir)
    train(config, tmp_path / "undisturbed")
    ends = [final_params(folder, config) for folder in (workdir, tmp_path / "undisturbed")]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), *ends)
    for one, other in zip(records(workdir), records(tmp_path / "undisturbed"), strict=True):
        assert one["step"] == other["step"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


@pytest.mark.slow
def test_the_first_process_dies(run_main, tmp_path):
    """Process 0 runs the service that connects the others."""
    both = start_all(run_main, tmp_path / "run", 2)
    wait_for_step(tmp_path / "run", 100, both)
    both[0].kill()
    both[1].communicate(timeout=HANG)
    assert both[1].returncode not in (0, None)
    both[0].communicate()


@pytest.mark.slow
def test_a_process_that_does_not_answer_is_given_up(run_main, tmp_path):
    """Stopped, not dead: its connections stay open, and only its heartbeats are missed."""
    both = start_all(run_main, tmp_path / "run", 2)
    wait_for_step(tmp_path / "run", 100, both)
    both[1].send_signal(signal.SIGSTOP)
    try:
        both[0].communicate(timeout=HANG)
        assert both[0].returncode not in (0, None)
    finally:
        both[1].kill()
        both[1].communicate()


@pytest.mark.slow  # test_process_agreement compares without processes
def test_a_folder_of_another_config_is_refused_by_all(run_main, tmp_path, tiny_config):
    Workdir(tmp_path).claim(resolve(tiny_config()))
    for process in start_all(run_main, tmp_path, 2):
        message = process.communicate(timeout=HANG)[1]
        assert process.returncode == 2, message
        assert "holds a run of another config" in message
        assert "Traceback" not in message


@pytest.mark.slow
def test_processes_with_different_configs_do_not_train(run_main, tmp_path):
    """With different seeds they would train to the end; test_process_agreement.py has more."""
    both = start_all(run_main, tmp_path / "run", 2, changes=[{}, {"seed": 1}])
    messages = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [1, 2], messages
    assert "differ from process 0: 1; they differ in: seed." in messages[0].splitlines()[-1]
    assert "seed is 0 in process 0 and 1 in process 1" in messages[1].splitlines()[-1]
    assert "Traceback" not in "".join(messages)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host", 2, 0), "give HOST:PORT"),
        (("host:0", 2, 0), "a port from 1 to 65535"),
        (("host:65536", 2, 0), "a port from 1 to 65535"),
        (("host:1", 0, 0), "--num_processes is 0"),
        (("host:1", 2, 2), "--process_id is 2"),
    ],
)
def test_processes_that_cannot_be(arguments, message):
    with pytest.raises(UsageError, match=message):
        processes.start(*arguments)


def test_processes_that_nothing_tells_of(run_main, tmp_path):
    done = run_main(tmp_path, "--distributed")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "finds the other processes only on Cloud TPU, SLURM and Kubernetes" in last
    assert list(tmp_path.iterdir()) == []


def test_slurm_leaves_a_process_all_devices_of_its_host(monkeypatch):
    """With one task a node; JAX would take the first device alone."""
    started = {}
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *args, **options: started.update(options)
    )
    for tasks, devices in (("4", []), ("8", None)):
        monkeypatch.setenv("SLURM_NTASKS", tasks)
        monkeypatch.setenv("SLURM_STEP_NUM_NODES", "4")
        processes.start()
        assert started["local_device_ids"] == devices


def test_what_fails_in_another_process_fails_here(monkeypatch):
    with processes.agreed():
        pass
    with pytest.raises(UsageError, match="mine"), processes.agreed():
        raise UsageError("mine")
    monkeypatch.setattr(processes, "gathered", lambda flag: np.array([flag, True]))
    with pytest.raises(RunError, match="another process of this run stopped"), processes.agreed():
        pass
