"""Configurations: the same groups everywhere, and what makes no sense is refused."""

import math

import ml_collections
import pytest
from conftest import ROOT, load_config

from sfvae_jax import config as configuration
from sfvae_jax.errors import UsageError
from sfvae_jax.training.workdir import flatten

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("preset", ["", "laptop"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_has_every_group_and_preset(name, preset):
    config = load_config(name).get_config(preset)
    configuration.validate(config)
    assert config.is_locked
    assert config.preset == preset
    base = flatten(configuration.base_config().to_dict())
    missing = [
        key
        for key in base
        if not key.startswith("published") and key not in flatten(config.to_dict())
    ]
    assert not missing
    assert config.published.source
    with pytest.raises(AttributeError):
        config.data.nmae = "mnist"


@pytest.mark.parametrize("name", CONFIGS)
def test_an_unknown_preset_lists_the_known_ones(name):
    with pytest.raises(UsageError, match="unknown preset 'lptop'.*laptop"):
        load_config(name).get_config("lptop")


def test_collapse_is_the_papers_setting():
    config = load_config("mnist_collapse").get_config()
    assert config.model.latent_size == 200
    assert config.model.hidden_sizes == (512, 256)
    assert config.data.num_examples == 1000
    assert (config.train.steps, config.train.batch_size) == (1000, 0)
    assert config.train.learning_rate == 1e-3
    assert config.likelihood.variance == 0.5
    assert config.objective.gamma == 0.5
    assert config.evaluations.steps == (100, 1000)
    options = config.evaluations.collapse
    assert (options.epsilon, options.delta) == (0.05, 0.01)


def test_collapse_sweep_is_both_objectives_by_ten_seeds():
    runs = []
    load_config("mnist_collapse").sweep(lambda **changes: runs.append(changes))
    assert len(runs) == 20
    pairs = {(run["objective.name"], run["seed"]) for run in runs}
    assert pairs == {(name, seed) for name in ("sampling", "sampling_free") for seed in range(10)}
    config = load_config("mnist_collapse").get_config()
    config.update_from_flattened_dict(runs[0])  # every key exists


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("objective.gamma", 1.5, r"objective.gamma must be a number in \[0, 1\], got 1.5"),
        ("objective.gamma", -0.1, r"objective.gamma must be a number in \[0, 1\]"),
        ("objective.gamma", math.nan, r"objective.gamma must be a number in \[0, 1\]"),
        ("objective.gamma_values", (0.9, 1.2), r"gamma must lie in \[0, 1\], got 1.2"),
        ("objective.gamma_values", (), "at least one value"),
        ("objective.gamma_values", ("a", "b", "c", "d", "e"), "gamma_schedule 'piecewise'"),
        ("train.steps", 4, "5 values need at least as many steps, got 4"),
        ("seed", 2**32, r"seed must be below 2\*\*32"),
        ("evaluations.names", (), "evaluations.names must be at least one name"),
        ("likelihood.name", "", "does not take likelihood ''"),
        ("objective.gamma_boundaries", (3, 2), "5 values need 4 boundaries, got 2"),
        ("objective.gamma_schedule", "cosine", "unknown gamma schedule 'cosine'"),
        ("objective.name", "samplin", "unknown objective 'samplin'; did you mean 'sampling'"),
        ("objective.num_samples", 0, "objective.num_samples must be a positive whole number"),
        ("model.name", "cnn", "unknown model 'cnn'. Known: mlp"),
        ("model.activation", "gelu", "unknown activation 'gelu'.*relu, tanh"),
        ("model.initializer", "zeros", "unknown initializer 'zeros'"),
        ("model.latent_size", 0, "model.latent_size must be a positive whole number, got 0"),
        ("model.hidden_sizes", (16, 0), "model.hidden_sizes must be positive sizes"),
        ("posterior.name", "iaf", "'sampling_free' does not take posterior 'iaf'; .* diagonal"),
        ("likelihood.name", "bernoulli", "does not take likelihood 'bernoulli'"),
        ("likelihood.variance", 0.0, "likelihood.variance must be a positive, finite number"),
        ("train.learning_rate", -1e-3, "train.learning_rate must be a positive, finite number"),
        ("train.learning_rate", math.inf, "train.learning_rate must be a positive, finite number"),
        ("train.steps", 0, "train.steps must be a positive whole number"),
        ("train.batch_size", -1, "train.batch_size must be a whole number, 0 or more, got -1"),
        ("train.steps_per_call", 0, "train.steps_per_call must be a positive"),
        ("data.num_examples", -5, "data.num_examples must be a whole number, 0 or more"),
        ("seed", -1, "seed must be a whole number, 0 or more"),
        ("evaluations.names", ("colapse",), "unknown evaluation 'colapse'; did you mean"),
        ("evaluations.steps", (0,), "evaluations.steps must be positive steps"),
        ("evaluations.part", "dev", "unknown part of the data 'dev'"),
        ("evaluations.collapse.epsilon", 0.0, "evaluations.collapse.epsilon must be positive"),
        ("evaluations.collapse.delta", 1.0, r"evaluations.collapse.delta must be in \[0, 1\)"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny_config, key, value, message):
    piecewise = key.startswith("objective.gamma_") or value == 4
    schedule = {"objective.gamma_schedule": "piecewise" if piecewise else "constant"}
    with pytest.raises(UsageError, match=message) as caught:
        configuration.validate(tiny_config(**{**schedule, key: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gamma": 0.5}, [0.5, 0.5, 0.5]),
        ({"gamma_schedule": "linear", "gamma_start": 0.9, "gamma": 0.5}, [0.9, 0.7, 0.5]),
        (
            {"gamma_schedule": "linear", "gamma_start": 0.9, "gamma": 0.5, "gamma_steps": 50},
            [0.9, 0.5, 0.5],
        ),
        ({"gamma_schedule": "piecewise"}, [0.95, 0.8, 0.5]),
        (
            {"gamma_schedule": "piecewise", "gamma_values": (1.0, 0.2), "gamma_boundaries": (60,)},
            [1.0, 1.0, 0.2],
        ),
    ],
)
def test_gamma_schedules_of_a_config(tiny_config, changes, expected):
    config = tiny_config(**{"train.steps": 100})
    config.objective.update(ml_collections.ConfigDict(changes))
    schedule = configuration.gamma_schedule(config)
    assert [float(schedule(step)) for step in (0, 50, 100)] == pytest.approx(expected)
