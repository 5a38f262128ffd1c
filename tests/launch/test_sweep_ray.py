"""Sweeps on a Ray cluster of this machine, whose workers are killed."""

import os
import signal
from pathlib import Path

import pytest
from helpers import TINY, checkpoint_steps, wait_for
from tiny_sweeps import contents, is_done, start_sweep, write_config

from launch.backends.ray import environment_of
from launch.backends.ray_cluster import check_feasible
from launch.sweep import main
from sfvae_jax.errors import UsageError

pytest.importorskip("ray", reason="needs Ray: pip install 'sfvae_jax[sweep]'")

LESS = {"evaluations.steps": (), "evaluations.names": ("reconstruction",)}
LONG = {"train.steps": 1500, "train.checkpoint_every": 100}


def processes_of(workdir):
    """The ids of the training processes of a run."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_text().split("\0") if process.name.isdigit() else []
        except OSError:
            continue
        if "sfvae_jax.main" in words and f"--workdir={workdir}" in words:
            found.append(int(process.name))
    return found


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_in_the_middle(workdir, process, find):
    """Sends SIGKILL to the process that `find` returns, once there is a checkpoint."""
    wait_for(lambda: checkpoint_steps(workdir), process)
    (pid,) = processes_of(workdir)
    os.kill(find(pid), signal.SIGKILL)
    assert not is_done(workdir)


def tries(folder, workdir):
    """The log of each process of a run."""
    log = (folder / "logs" / f"{workdir.name}.log").read_text()
    return [text for text in log.split("+ ") if "sfvae_jax.main" in text]


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_goes_on(tmp_path, capsys):
    runs = [{"seed": 0, **LONG}, {"seed": 1}]
    config, folder = write_config(tmp_path, runs, **LESS), tmp_path / "sweep"
    killed = folder / "seed=0,train.steps=1500,train.checkpoint_every=100"
    process = start_sweep(config, folder, "--backend=ray")
    kill_in_the_middle(killed, process, parent_of)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert is_done(killed)
    assert is_done(folder / "seed=1")
    assert len(tries(folder, folder / "seed=1")) == 1
    first, second = tries(folder, killed)
    assert "resuming" not in first
    assert "resuming from the checkpoint of step" in second
    assert "another process is at work" not in second
    assert out.startswith("| method | runs |")
    assert "raylet" not in err

    # Nothing is left to do, so that no cluster is needed.
    before = contents(killed)
    flags = [f"--config={config}", f"--workdir={folder}", "--backend=ray", "--address=none:1"]
    assert main(flags) == 0
    assert contents(killed) == before


def test_resources_that_no_machine_has_are_refused_or_waited_for(monkeypatch, capsys):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 2.0, "TPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 8.0, "TPU": 8.0}},
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    check_feasible({"CPU": 2.0, "TPU": 4.0}, "local")
    with pytest.raises(UsageError, match="needs CPU 4, TPU 4, but .* have CPU 8, TPU 0 or CPU 2"):
        check_feasible({"CPU": 4.0, "TPU": 4.0}, "local")
    check_feasible({"TPU": 8.0}, "10.0.0.1:6379")
    assert "waiting for a machine that has enough" in capsys.readouterr().err


def test_a_run_sees_the_gpus_that_it_asks_for(monkeypatch):
    monkeypatch.setattr("os.environ", {"JAX_PLATFORMS": "cuda", "HOME": "/home"})
    assert environment_of({"CPU": 1.0, "GPU": 0.5}) == {"JAX_PLATFORMS": "cuda"}
    hidden = {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""}
    assert environment_of({"CPU": 1.0}) == environment_of({"GPU": 0.0}) == hidden


@pytest.mark.slow
def test_four_runs_kills_and_a_signal(tmp_path):
    """One run's worker and another's process are killed; after SIGTERM the sweep goes on."""
    runs = [{"seed": seed, **LONG} for seed in range(4)]
    config, folder = write_config(tmp_path, runs, **LESS), tmp_path / "sweep"
    workdirs = [folder / f"seed={s},train.steps=1500,train.checkpoint_every=100" for s in range(4)]
    process = start_sweep(config, folder, "--backend=ray")
    kill_in_the_middle(workdirs[0], process, parent_of)
    kill_in_the_middle(workdirs[1], process, lambda pid: pid)
    wait_for(lambda: all("resuming" in tries(folder, w)[-1] for w in workdirs[:2]), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert not any(processes_of(workdir) for workdir in workdirs)
    assert not all(is_done(workdir) for workdir in workdirs)
    for workdir in workdirs[:2]:
        assert "resuming from the checkpoint of step" in tries(folder, workdir)[1]
    before = {workdir: contents(workdir) for workdir in workdirs if is_done(workdir)}

    process = start_sweep(config, folder, "--backend=ray")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert all(is_done(workdir) for workdir in workdirs)
    assert {workdir: contents(workdir) for workdir in before} == before

    found = {workdir: contents(workdir) for workdir in workdirs}
    process = start_sweep(config, folder, "--backend=ray")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert {workdir: contents(workdir) for workdir in workdirs} == found


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_fails(tmp_path):
    runs = [{"seed": 0, **LONG}]
    config, folder = write_config(tmp_path, runs, **LESS), tmp_path / "sweep"
    workdir = folder / "seed=0,train.steps=1500,train.checkpoint_every=100"
    process = start_sweep(config, folder, "--backend=ray", "--retries=0")
    kill_in_the_middle(workdir, process, lambda pid: pid)
    _, err = process.communicate()
    assert process.returncode == 1, err
    assert "as when memory runs out, on its last try; log: " in err


@pytest.mark.slow
def test_another_cluster_is_shipped_the_code(tmp_path, monkeypatch):
    """A config file of the repository, on workers without this checkout."""
    from ray.cluster_utils import Cluster

    monkeypatch.chdir(tmp_path)  # where its workers are, apart from the shipped files
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        small = {**TINY, **LESS, "train.batch_size": 20}
        changes = [f"--config.{key}={value}" for key, value in small.items()]
        flags = ["--backend=ray", f"--address={cluster.address}"]
        folder = tmp_path / "sweep"
        process = start_sweep("configs/mnist_manifold.py:laptop", folder, *flags, *changes)
        _, err = process.communicate()
        assert process.returncode == 0, err
        for name in ("sampling", "sampling_free"):
            workdir = folder / f"objective.name={name}"
            assert is_done(workdir)
            assert " --config=configs/mnist_manifold.py:laptop " in tries(folder, workdir)[0]
        outside = start_sweep(write_config(tmp_path, [{}]), tmp_path / "other", *flags)
        _, err = outside.communicate()
        assert outside.returncode == 2
        assert "which is shipped to the cluster" in err
    finally:
        cluster.shutdown()
