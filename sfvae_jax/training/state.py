"""The train state, the type of a train step, the optimizer, and the random keys of a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax import Array

from sfvae_jax.models import Model
from sfvae_jax.objectives import OBJECTIVES
from sfvae_jax.objectives.reduction import Metrics
from sfvae_jax.training.learning_rate import learning_rate
from sfvae_jax.training.normalization.spectral import Vectors, start_vectors
from sfvae_jax.training.updates import ema
from sfvae_jax.training.updates.transformation import transformation


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step reads and writes. A checkpoint holds the whole pytree.

    Attributes:
        step: number of updates taken, int32 scalar.
        params: the model's parameters.
        opt_state: the optimizer's state.
        vectors: singular vectors for the spectral normalisation of the decoder's kernels, by the
            path of the kernel; empty without this normalisation.
        batch_stats: running averages of BatchNorm's moments; empty without it.
        plateau: state of the rule that reduces the learning rate; its `scale` multiplies updates.
        best: the best validation so far, `early_stopping.Best`; empty if the run cannot stop early.
        average: moving average of the parameters, `ema.Average`; empty without `train.ema_decay`.
    """

    step: Array
    params: Any
    opt_state: Any
    vectors: Vectors = dataclasses.field(default_factory=dict)
    batch_stats: Any = dataclasses.field(default_factory=dict)
    plateau: Any = dataclasses.field(default_factory=lambda: start_plateau())
    best: Any = dataclasses.field(default_factory=dict)
    average: Any = dataclasses.field(default_factory=dict)


# (state, stored examples [B, ...], the training's key) -> (state, metrics)
TrainStep = Callable[[TrainState, Array, Array], tuple[TrainState, Metrics]]


@jax.jit
def is_finite(state: TrainState) -> Array:
    """Returns whether everything that a step changes is finite, as well as the parameters' norm.

    A parameter or a moment of Adam that is not finite stays so. One check therefore covers all
    earlier steps.
    """
    # A plateau's best loss may start at infinity. The best model was checked when it was stored.
    state = dataclasses.replace(state, plateau=None, best=None)
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state)]
    return jnp.isfinite(optax.tree.norm(state.params)) & jnp.array(leaves).all()


def start_plateau() -> Any:
    """Returns the state of optax's `reduce_on_plateau` before any validation.

    Its best loss starts at the largest float instead of infinity, because with JAX_DEBUG_INFS a
    step that returns an infinity ends the run.
    """
    return optax.contrib.ReduceLROnPlateauState(
        scale=jnp.ones((), jnp.float32),
        best_value=jnp.asarray(np.finfo(np.float32).max),
        plateau_count=jnp.zeros((), jnp.int32),
        cooldown_count=jnp.zeros((), jnp.int32),
        count=jnp.zeros((), jnp.int32),
        avg_value=jnp.zeros((), jnp.float32),
    )


class Keys(NamedTuple):
    """Keys of independent random streams, all from one seed."""

    initialisation: Array
    training: Array
    evaluation: Array


def make_keys(seed: int) -> Keys:
    """Returns the keys that belong to a config's `seed`."""
    return _keys(np.int64(seed))  # as `jax.random.key` takes a number that is not an array


@jax.jit  # one program for a key, its parts and each part by itself
def _keys(seed: Array) -> Keys:
    return Keys(*jax.random.split(jax.random.key(seed), 3))


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Returns the optimizer that the group `train` describes."""
    if config.learning_rate_schedule == "constant":
        # A schedule would add a step count to its state.
        return transformation(config, config.learning_rate)
    return transformation(config, learning_rate(config))


def create_state(
    config: ml_collections.ConfigDict,
    model: Model,
    optimizer: optax.GradientTransformation,
    data_shape: tuple,
) -> TrainState:
    """Initialises the train state for a resolved config and examples shaped `data_shape`."""
    rng = make_keys(config.seed).initialisation

    @jax.jit  # makes one program instead of one for each array of zeros
    def start(rng: Array) -> TrainState:
        variables = model.init(rng, jnp.zeros(data_shape, model.data_dtype))
        params = {"params": variables["params"]}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            batch_stats=variables.get("batch_stats", {}),
        )

    state = start(rng)
    if OBJECTIVES[config.objective.name].normalizes_decoder:
        vectors = start_vectors(jax.random.fold_in(rng, 1), state.params)
        state = dataclasses.replace(state, vectors=vectors)
    return with_average(state) if config.train.ema_decay else state


def with_average(state: TrainState) -> TrainState:
    """Returns the state with a new average of its parameters, which begins at their values."""
    average = ema.start(state.params, state.vectors, state.batch_stats)
    return dataclasses.replace(state, average=average)


def averaged(state: TrainState) -> TrainState:
    """Returns the state with the averaged model in place of the last one.

    Args:
        state: of a run with `train.ema_decay`.
    """
    model = state.average
    return dataclasses.replace(
        state, params=model.params, vectors=model.vectors, batch_stats=model.batch_stats
    )
