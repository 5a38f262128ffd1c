"""What training changes, and the keys that it never changes."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax import Array

from sfvae_jax.training.spectral import Vectors, start_vectors


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step reads and writes; a pytree, checkpointed whole.

    Attributes:
        step: number of updates taken, int32 scalar.
        params: the model's parameters.
        opt_state: the optimiser's state.
        vectors: of the decoder's spectral normalisation, by kernel; empty without it.
    """

    step: Array
    params: Any
    opt_state: Any
    vectors: Vectors = dataclasses.field(default_factory=dict)


class Keys(NamedTuple):
    """Independent streams of randomness of one seed."""

    initialisation: Array
    training: Array
    evaluation: Array


def make_keys(seed: int) -> Keys:
    """The streams of a config's `seed`."""
    return Keys(*jax.random.split(jax.random.key(seed), 3))


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """The optimiser that a `train` group describes."""
    return optax.adam(config.learning_rate)


def create_state(
    config: ml_collections.ConfigDict,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    data_shape: tuple,
) -> TrainState:
    """A fresh state of a resolved config, for examples of one shape."""
    rng = make_keys(config.seed).initialisation
    params = jax.jit(model.init)(rng, jnp.zeros(data_shape))
    normalized = config.objective.name == "rae_sn"
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        vectors=start_vectors(jax.random.fold_in(rng, 1), params) if normalized else {},
    )
