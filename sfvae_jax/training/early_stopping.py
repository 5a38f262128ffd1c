"""Early stopping: the model that did best on the valid split, and when nothing better is expected.

What is known of the best validation is a part of the state, and so of every checkpoint: a resumed
run stops where the first would have, whichever checkpoints are kept or damaged.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.training.state import TrainState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Best:
    """The validation with the least loss so far, and the model as it was then.

    Attributes:
        loss: on the valid split, float32 scalar; the largest float before the first validation.
        step: of it, int32 scalar; 0 before the first.
        stale: validations since, that count and were no better, int32 scalar.
        params: the model's parameters at that step.
        vectors: of spectral normalisation, at that step.
        batch_stats: running averages of BatchNorm's moments, at that step.
    """

    loss: Array
    step: Array
    stale: Array
    params: Any
    vectors: Any
    batch_stats: Any


def with_best(state: TrainState, config: ml_collections.ConfigDict) -> TrainState:
    """A fresh state that remembers its best validation, where a `train` group asks for it."""
    if not config.stop_patience:
        return state
    model = (state.params, state.vectors, state.batch_stats)
    best = Best(
        jnp.asarray(np.finfo(np.float32).max),  # not infinity: see `start_plateau`
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
        # Buffers of their own: those of the state are given up at each call.
        *jax.tree.map(jnp.copy, model),
    )
    return dataclasses.replace(state, best=best)


def note(state: TrainState, loss: Array, counts: Array) -> Best:
    """The best validation after one more.

    Any fall below the least loss is better, however small, as for the plateaus of the learning
    rate. One that is not is stale.

    Args:
        state: that was validated, from `with_best`.
        loss: on the valid split, float32 scalar.
        counts: whether a validation that is no better is counted.
    """
    model = (state.params, state.vectors, state.batch_stats)
    stale = state.best.stale + jnp.asarray(counts, jnp.int32)
    now = Best(loss, state.step, jnp.zeros((), jnp.int32), *model)
    before = dataclasses.replace(state.best, stale=stale)
    better = loss < state.best.loss
    return jax.tree.map(lambda new, old: jnp.where(better, new, old), now, before)


def has_stopped(state: TrainState, config: ml_collections.ConfigDict) -> bool:
    """Whether `train.stop_patience` validations in a row were no better than the best."""
    return config.stop_patience > 0 and int(state.best.stale) >= config.stop_patience


def best_of(state: TrainState) -> TrainState:
    """The state with the model of the best validation, and of its step.

    The state itself where nothing was validated or a run does not stop early. What belongs to the
    last step alone, such as the optimiser's moments, is left out.
    """
    best = state.best
    if not isinstance(best, Best) or int(best.step) == 0:
        return state
    return TrainState(best.step, best.params, (), best.vectors, best.batch_stats, plateau=())
