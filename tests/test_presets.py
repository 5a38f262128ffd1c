"""Every config's `laptop` preset from training to pictures, at toy size."""

import json

import pytest
from conftest import ROOT, load_config

from sfvae_jax.evaluate import evaluate
from sfvae_jax.train import train

SMALL = {
    "data.num_examples": 24,
    "data.num_test": 12,
    "model.latent_size": 2,
    "model.hidden_sizes": (8,),
    "train.steps": 2,
    "train.batch_size": 8,
    "train.steps_per_call": 2,
    "train.log_every": 1,
    "train.checkpoint_every": 2,
    "evaluations.steps": (),
    "evaluations.batch_size": 12,
}
WEIGHED = {
    "evaluations.marginal_likelihood.num_samples": 4,
    "evaluations.marginal_likelihood.num_images": 4,
}
SIXTY_FOUR = {"model.channels": (2, 2, 2, 2, 4), "evaluations.frechet.num_samples": 12}
CHANGES = {
    "celeba": SIXTY_FOUR | WEIGHED,
    "chairs3d": SIXTY_FOUR | WEIGHED,
    "gamma_schedule": {"train.steps": 5, "objective.gamma_boundaries": (1, 2, 3, 4)},
    "jacobian_quality": {},
    "mnist_baggins": {},
    "mnist_bilbo": {},
    "mnist_collapse": {},
    "mnist_estimators": {"evaluations.iwae_bound.num_samples": 4},
    "mnist_manifold": {},
    "mnist_posteriors": {"evaluations.iwae_bound.num_samples": 4},
    "rae": {
        "data.num_valid": 12,
        "model.channels": (2, 2, 4),
        "train.validate_every": 1,
        "evaluations.frechet.num_samples": 12,
    },
}


def test_no_config_is_left_out():
    assert sorted(CHANGES) == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("name", CHANGES)
def test_the_laptop_preset_runs_to_its_pictures(name, tmp_path):
    config = load_config(name).get_config("laptop")
    config.update_from_flattened_dict(SMALL | CHANGES[name])
    train(config, tmp_path)
    metrics = evaluate(config, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metrics"] == metrics
    assert results["published"]["source"]
    reasons = results["not_applicable"]
    assert [key for key, value in metrics.items() if value is None and key not in reasons] == []
    measured = [value for value in metrics.values() if value is not None]
    assert len(measured) >= 2
    assert (tmp_path / "figures" / "training.png").exists()
