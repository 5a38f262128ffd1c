"""A sweep of four real runs on this machine, one of which fails."""

import json
import re
import signal

from helpers import checkpoint_steps, wait_for
from tiny_sweeps import ENVIRONMENT, contents, is_done, start_sweep, write_config

from launch.sweep import main

LONG = {"seed": 1, "train.steps": 1500, "train.checkpoint_every": 100}
LESS = {"evaluations.steps": (), "evaluations.names": ("reconstruction",)}
BAD = {"data.num_examples": 6000}
RUNS = [{"seed": 0}, LONG, BAD, {"seed": 2}]


def test_a_sweep_that_is_interrupted_goes_on_and_recomputes_nothing(tmp_path, capsys, monkeypatch):
    config, folder = write_config(tmp_path, RUNS, **LESS), tmp_path / "sweep"
    first, last = folder / "seed=0", folder / "seed=2"
    long = folder / "seed=1,train.steps=1500,train.checkpoint_every=100"

    # Ctrl-C while the second of four runs.
    process = start_sweep(config, folder)
    wait_for(lambda: checkpoint_steps(long), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped; 1 of 4 runs are done, 0 failed; the same command continues" in err
    assert out == ""
    assert is_done(first)
    assert not is_done(long)
    assert not last.exists()
    before = contents(first)

    # The same command goes on; the run that fails does not stop the others.
    flags = [f"--config={config}", f"--workdir={folder}"]
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert main([*flags, "--jobs=2"]) == 1
    out, err = capsys.readouterr()
    log = folder / "logs" / "data.num_examples=6000.log"
    failed = next(line for line in err.splitlines() if line.startswith("failed: "))
    assert failed.startswith("failed: data.num_examples=6000: sfvae_jax: error: data.num_ex")
    assert failed.endswith(f"log: {log}")
    assert "3 of 4 runs are done, 1 failed" in err
    assert re.search(r"runs 3/4 done, 1 failed, 0 running, step 1524/1536", err)
    assert contents(first) == before
    text = (folder / "logs" / f"{long.name}.log").read_text()
    assert re.search(r"resuming from the checkpoint of step [1-9]\d* of 1500", text)
    assert all(is_done(workdir) for workdir in (first, long, last))

    # The table of the finished runs, in the order of the sweep.
    assert out.strip() == (folder / "report.md").read_text().strip()
    methods = json.loads((folder / "report.json").read_text())["methods"]
    assert [method["seeds"] for method in methods] == [[0, 2], [1]]
    assert (folder / "report.png").exists()

    # Once more: nothing is left to do.
    found = {workdir: contents(workdir) for workdir in (first, long, last)}
    flags.append("--filter=seed=*")
    assert main(flags) == 0
    assert {workdir: contents(workdir) for workdir in found} == found
    assert capsys.readouterr().out.startswith("| method | runs |")

    # Workdirs with another configuration are listed, and nothing in them is changed.
    assert main([*flags, "--config.train.learning_rate=0.5"]) == 1
    err = capsys.readouterr().err
    assert err.count("learning_rate is 0.001 in that run and 0.5 in this one") == 3
    assert {workdir: contents(workdir) for workdir in found} == found
