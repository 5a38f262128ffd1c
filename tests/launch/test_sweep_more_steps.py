"""A sweep whose steps were raised: its runs go on."""

import json

import pytest
from tiny_sweeps import write_config

from launch.runs import expand, is_finished
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluate import evaluate
from sfvae_jax.train import train

STOPPING = {"data.num_valid": 10, "train.validate_every": 3, "train.stop_patience": 9}


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_with_more_steps_goes_on_with_its_runs(tmp_path):
    """Also with runs whose results.json says where they ended."""
    file = write_config(tmp_path, [{"seed": 0}], **STOPPING)
    (run,) = expand(file, tmp_path)
    train(run.config, run.workdir)
    evaluate(run.config, run.workdir)
    assert is_finished(run)
    assert results(run.workdir)["ended_at"] == 12
    (longer,) = expand(file, tmp_path, ["--config.train.steps=20"])
    assert longer.workdir == run.workdir
    assert not is_finished(longer)
    train(longer.config, longer.workdir)
    assert not is_finished(longer)
    assert "ended_at" not in results(longer.workdir)
    evaluate(longer.config, longer.workdir)
    assert is_finished(longer)
    with pytest.raises(UsageError, match="holds a run of another config"):
        is_finished(run)
