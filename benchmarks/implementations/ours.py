"""The library's step: value and gradient of the loss, as in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax import models
from sfvae_jax.training.state import TrainState
from sfvae_jax.training.step import build_gradient


def value_and_grad(
    config: ml_collections.ConfigDict, data_shape: tuple[int, ...]
) -> Callable[[Any, Array, Array], tuple[Array, Any]]:
    """Returns (params, rng, x [B, ...]) -> (loss in nats per example, its gradient in the params).

    Args:
        config: a resolved config.
        data_shape: the shape of one example.
    """
    take_gradient = build_gradient(config, models.build(config, data_shape), axis_name=None)

    def step(params: Any, rng: Array, x: Array) -> tuple[Array, Any]:
        state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=())
        gradient, metrics, _ = take_gradient(state, x, rng)
        return metrics["loss"], gradient

    return step
