"""What is not finite is neither trained on nor kept."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sfvae_jax.errors import RunError
from sfvae_jax.evaluate import evaluate
from sfvae_jax.train import train
from sfvae_jax.training.state import TrainState, is_finite


def _state(**changes):
    params = {"kernel": jnp.ones((2, 2))}
    state = TrainState(jnp.zeros((), jnp.int32), params, optax.adam(1.0).init(params))
    return dataclasses.replace(state, **changes)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_every_part_of_the_state_is_looked_at(value):
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


def test_a_healthy_run_passes_under_jaxs_own_checks(tiny_config, tmp_path):
    """JAX_DEBUG_NANS and JAX_DEBUG_INFS: nothing that a step or a measure returns is marked so."""
    changes = {
        "data.num_valid": 20,
        "train.validate_every": 4,
        "train.plateau_patience": 1,
        "evaluations.names": ("collapse", "reconstruction", "iwae_bound", "marginal_likelihood"),
        "evaluations.marginal_likelihood.num_samples": 5,
    }
    config = tiny_config(**changes)
    with jax.debug_nans(True), jax.debug_infs(True):
        train(config, tmp_path)
        shutil.rmtree(tmp_path / "checkpoints" / "12")
        train(config, tmp_path)  # from step 8
        assert evaluate(config, tmp_path)["iwae_bound"] < 0.0
        with pytest.raises(FloatingPointError):  # they were on
            jnp.log(jnp.zeros(()))
