"""A run is measured before its first step, if asked for."""

import json
import shutil

from sfvae_jax import data, models
from sfvae_jax.config import resolve
from sfvae_jax.measuring.trained import measure, trained_model
from sfvae_jax.train import train
from sfvae_jax.training.state import create_state, make_optimizer


def test_step_0_is_the_fresh_model_also_after_a_kill_before_the_first_checkpoint(
    tiny_config, tmp_path
):
    changes = {"evaluations.names": ("kl_divergence", "lower_bound"), "evaluations.steps": (0, 5)}
    config = resolve(tiny_config(**changes))
    train(config, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results["history"]) == ["0", "5"]

    splits = data.Splits(config.data)
    images = splits.examples(config.evaluations.part)
    model = models.build(config, images.shape[1:])
    state = create_state(config, model, make_optimizer(config.train), images.shape[1:])
    assert (
        measure(trained_model(config, model, state, images))["metrics"] == results["history"]["0"]
    )

    # What a kill leaves after the measures and before the first checkpoint.
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "run", killed)
    shutil.rmtree(killed / "checkpoints")
    (killed / "metrics.jsonl").unlink()
    left = results | {"history": {"0": results["history"]["0"]}}
    left["history_caveats"] = {"0": {}}
    (killed / "results.json").write_text(json.dumps(left))
    train(config, killed)
    assert json.loads((killed / "results.json").read_text()) == results
