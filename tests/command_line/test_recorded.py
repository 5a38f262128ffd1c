"""A run is evaluated without its config file: its config.json says how it was trained."""

import json
import subprocess
import sys
from functools import partial

import pytest
from helpers import HANG, ROOT

from sfvae_jax import evaluate, train
from sfvae_jax.command_line.recorded import get_config, with_recorded_config
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.runs.files.config_file import plain


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_config):
    """A run; tests change nothing of it but its measures."""
    changes = {"train.steps": 4, "evaluations.steps": (), "train.checkpoint_every": 4}
    config, workdir = tiny_config(**changes), tmp_path_factory.mktemp("trained") / "run"
    train.train(config, workdir)
    return config, workdir


def _results(workdir):
    return json.loads((workdir / "results.json").read_text())


def test_it_measures_what_the_config_file_measures(trained):
    config, workdir = trained
    evaluate.evaluate(config, workdir)
    with_file = _results(workdir)
    assert with_file["published"]["rows"]
    before = (workdir / "config.json").read_bytes()
    evaluate.evaluate(get_config(str(workdir)), workdir)
    assert _results(workdir) == with_file
    assert (workdir / "config.json").read_bytes() == before


def test_it_is_the_configuration_of_the_run(trained):
    config, workdir = trained
    found = resolve(get_config(str(workdir)))
    asked = resolve(config)
    assert plain(found) == plain(asked)
    assert found.model.hidden_sizes == asked.model.hidden_sizes  # tuples, as in a config file


def test_the_flag_that_is_added(trained, monkeypatch):
    _, workdir = trained
    flags = [f"--workdir={workdir}", "--mode=evaluate", "--config.seed=1"]
    name, added, *rest = with_recorded_config(["main", *flags])
    assert (name, rest) == ("main", flags)
    file, _, preset = added.removeprefix("--config=").partition(":")
    assert file.endswith("recorded.py")
    assert preset == str(workdir)
    apart = ["main", "--workdir", str(workdir), "--mode", "evaluate"]
    assert with_recorded_config(apart)[1] == added
    for others in (
        ["main", f"--workdir={workdir}"],
        ["main", f"--workdir={workdir}", "--mode=train"],
        ["main", "--mode=evaluate"],
        ["main", *flags, "--config=a.py"],
        ["main", *flags, "--mode=train"],
    ):
        assert with_recorded_config(others) == others


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no config.json; give the folder of a run, or train"):
        with_recorded_config(["main", f"--workdir={tmp_path}", "--mode=evaluate"])
    (tmp_path / "config.json").write_text('{"train": {"stepz": 1}}')
    with pytest.raises(UsageError, match="train.stepz; did you mean train.steps"):
        get_config(str(tmp_path))
    (tmp_path / "config.json").write_text('{"train": {"steps": "many"}}')
    with pytest.raises(UsageError, match="config.json: train.steps"):
        get_config(str(tmp_path))


def test_as_a_command(trained):
    """Flags change evaluations and nothing else; both are read from the run's own configuration."""
    _, workdir = trained
    command = [sys.executable, "-m", "sfvae_jax", f"--workdir={workdir}", "--mode=evaluate"]
    names = "--config.evaluations.names=('reconstruction',)"
    run = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, timeout=HANG)
    done = run([*command, names])
    assert done.returncode == 0, done.stderr
    assert "reconstruction_error" in _results(workdir)["metrics"]
    done = run([*command, "--config.seed=9"])
    assert done.returncode == 2
    assert "seed is 0 in that run and 9 in this one" in done.stderr
    assert done.stderr.count("\n") == 1
