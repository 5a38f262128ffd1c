"""Early stopping: the best model on the valid split, and when to stop looking for a better one.

The best validation so far is part of the state and therefore of every checkpoint: a resumed run
stops where an uninterrupted one would, whichever checkpoints are kept or damaged.
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
        loss: loss on the valid split, float32 scalar; the largest float before any validation.
        step: step of that validation, int32 scalar; 0 before any.
        stale: number of counted validations since then that were no better, int32 scalar.
        params: the model's parameters at that step.
        vectors: the vectors of spectral normalisation at that step.
        batch_stats: the running averages of BatchNorm's moments at that step.
        average: the moving average of the parameters at that step; empty without one.
    """

    loss: Array
    step: Array
    stale: Array
    params: Any
    vectors: Any
    batch_stats: Any
    average: Any = dataclasses.field(default_factory=dict)


def with_best(state: TrainState, config: ml_collections.ConfigDict) -> TrainState:
    """Returns a fresh state that keeps its best validation if the group `train` stops early."""
    if not config.stop_patience:
        return state
    best = Best(
        jnp.asarray(np.finfo(np.float32).max),  # not infinity: see `start_plateau`
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
        # Copies, because each call donates the buffers of the state.
        *jax.tree.map(jnp.copy, _model(state)),
    )
    return dataclasses.replace(state, best=best)


def note(state: TrainState, loss: Array, counts: Array) -> Best:
    """Returns the best validation after one more.

    Any loss below the least one so far is better, however small the difference, as for the plateaus
    of the learning rate.

    Args:
        state: the validated state, from `with_best`.
        loss: its loss on the valid split, float32 scalar.
        counts: whether the validation counts as stale if it is no better.
    """
    stale = state.best.stale + jnp.asarray(counts, jnp.int32)
    now = Best(loss, state.step, jnp.zeros((), jnp.int32), *_model(state))
    before = dataclasses.replace(state.best, stale=stale)
    better = loss < state.best.loss
    return jax.tree.map(lambda new, old: jnp.where(better, new, old), now, before)


def has_stopped(state: TrainState, config: ml_collections.ConfigDict) -> bool:
    """Whether `train.stop_patience` validations in a row were no better than the best."""
    return config.stop_patience > 0 and int(state.best.stale) >= config.stop_patience


def best_step(state: TrainState) -> int | None:
    """Returns the step of the best validation; None if there is none, or the run keeps none."""
    best = state.best
    return int(best.step) or None if isinstance(best, Best) else None


def best_of(state: TrainState) -> TrainState:
    """Returns the state with the model and the step of the best validation.

    This is the state itself if nothing was validated or the run does not stop early. What belongs
    to the last step alone, such as the optimizer's moments, is left out.
    """
    if best_step(state) is None:
        return state
    best = state.best
    return TrainState(
        best.step,
        best.params,
        (),
        best.vectors,
        best.batch_stats,
        plateau=(),
        average=best.average,
    )


def _model(state: TrainState) -> tuple[Any, ...]:
    return state.params, state.vectors, state.batch_stats, state.average
