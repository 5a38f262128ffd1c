"""Losses and gradients that are not finite are neither trained on nor kept."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import ROOT

from sfvae_jax.config import resolve
from sfvae_jax.errors import RunError
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.train import train
from sfvae_jax.training.losses.not_finite import advice
from sfvae_jax.training.state import TrainState, is_finite


def _state(**changes):
    params = {"kernel": jnp.ones((2, 2))}
    state = TrainState(jnp.zeros((), jnp.int32), params, optax.adam(1.0).init(params))
    return dataclasses.replace(state, **changes)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_every_part_of_the_state_is_checked(value):
    assert is_finite(_state())
    bad = {"kernel": jnp.array([[1.0, value], [0.0, 1.0]])}
    assert not is_finite(_state(params=bad))
    assert not is_finite(_state(opt_state=optax.adam(1.0).init(bad)[0]._replace(mu=bad)))
    assert not is_finite(_state(batch_stats={"var": jnp.array([value])}))
    assert not is_finite(_state(vectors={"kernel": jnp.array([value])}))


def test_an_update_that_overflows_between_records_stops_the_run(tiny_config, tmp_path):
    """Parameters of 1e15 after the first step: no loss at the next, which is not recorded."""
    changes = {"train.learning_rate": 1e15, "train.log_every": 100, "train.checkpoint_every": 3}
    with pytest.raises(RunError, match="not finite at step 2; there is no checkpoint"):
        train(tiny_config(**changes), tmp_path)
    assert not any((tmp_path / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize(
    ("changes", "advised"),
    [
        (
            {"likelihood.variance": 1e-30, "objective.name": "sampling_free"},
            "Raise likelihood.variance 1e-30",
        ),
        ({"likelihood.variance": 1e-30, "objective.name": "sampling"}, "Raise likelihood.variance"),
        (
            {"model.latent_scale": 1e30, "objective.name": "sampling_free"},
            "Lower model.latent_scale 1e+30",
        ),
        ({"data.scale": 1e10, "objective.name": "sampling"}, "Lower data.scale 1e+10"),
        ({"objective.beta": 1e30, "objective.name": "sampling"}, "Lower objective.beta 1e+30"),
        (
            {"objective.penalty_weight": 1e38, "objective.name": "rae_l2"},
            "Lower objective.penalty_weight 1e+38",
        ),
        (
            {"posterior.variance": 1e30, "posterior.name": "constant"},
            "Lower posterior.variance 1e+30",
        ),
        ({"objective.tau": 1e-30, "objective.name": "bilbo_baggins"}, "Raise objective.tau 1e-30"),
        (
            {"objective.free_bits": 1e38, "objective.name": "sampling"},
            "Lower objective.free_bits 1e+38",
        ),
        # What this objective does not use is not the cause; nor is a weight of nothing.
        (
            {"likelihood.variance": 1e-30, "objective.name": "rae_gp"},
            "Check the data and model.initializer",
        ),
        (
            {"objective.beta": 0.0, "objective.name": "sampling"},
            "Check the data and model.initializer",
        ),
    ],
)
def test_a_first_loss_that_is_not_finite_is_not_blamed_on_the_learning_rate(
    tiny_config, changes, advised
):
    """All but the last two make a first loss or gradient that is not finite, as was tried."""
    told = advice(resolve(tiny_config(**changes)), at_start=True)
    assert told.startswith("No update has been made yet, so train.learning_rate is not the")
    assert advised in told


def test_the_function_of_a_plugin_may_be_the_cause(tiny_config, no_plugins):
    path = ROOT / "examples" / "plugins" / "renyi_objective.py"
    config = tiny_config(**{"plugins": (str(path),), "objective.name": "renyi"})
    told = advice(resolve(config), at_start=True)
    assert told.endswith("Check the plugin's function, the data and model.initializer")


def test_a_later_loss_that_is_not_finite_is_blamed_on_the_learning_rate(tiny_config):
    def told(**changes):
        return advice(resolve(tiny_config(**changes)), at_start=False)

    free = {"objective.name": "sampling_free"}
    assert told(**free) == "Lower train.learning_rate, or lower objective.gamma"
    learned = {"objective.name": "sampling", "likelihood.name": "heteroscedastic_gaussian"}
    assert told(**learned).endswith("bound the learned variance with likelihood.min_variance")
    rising = {"objective.name": "sampling", "objective.beta_schedule": "linear"}
    assert told(**rising) == "Lower train.learning_rate"
    both = told(**rising, **{"objective.beta": 1e38})
    assert both.startswith("Lower objective.beta 1e+38, which is far from 1")
    assert both.endswith("; else lower train.learning_rate")


def test_following_the_advice_helps(tiny_config, tmp_path):
    """A variance of 1e-30 has a loss of 1e30, whose gradient overflows; 1e-3 is trained."""
    changes = {"objective.name": "sampling", "train.steps": 3, "evaluations.steps": ()}
    message = (
        "not finite at step 1; there is no checkpoint. No update has been made yet, .*"
        "Raise likelihood.variance 1e-30, which is far from 1 and scales the loss$"
    )
    with pytest.raises(RunError, match=message):
        train(tiny_config(**changes, **{"likelihood.variance": 1e-30}), tmp_path / "a")
    train(tiny_config(**changes, **{"likelihood.variance": 1e-3}), tmp_path / "b")
    assert (tmp_path / "b" / "checkpoints" / "3").exists()


@pytest.mark.slow  # a whole run, compiled for these checks
def test_a_healthy_run_passes_under_jaxs_own_checks(tiny_config, tmp_path):
    """JAX_DEBUG_NANS and JAX_DEBUG_INFS: nothing that a step or a measure returns is marked so."""
    changes = {
        "data.num_valid": 20,
        "train.validate_every": 4,
        "train.plateau_patience": 1,
        "evaluations.names": ("collapse", "marginal_likelihood"),
        "evaluations.steps": (12,),
        "evaluations.marginal_likelihood.num_samples": 5,
    }
    config = tiny_config(**changes)
    with jax.debug_nans(True), jax.debug_infs(True):
        train(config, tmp_path)
        shutil.rmtree(tmp_path / "checkpoints" / "12")
        train(config, tmp_path)  # from step 8
        assert Workdir(tmp_path).read_results()["history"]["12"]["marginal_likelihood"] < 0.0
        with pytest.raises(FloatingPointError):  # they were on
            jnp.log(jnp.zeros(()))
