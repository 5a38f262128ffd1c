"""The library's own step: value and gradient of the loss as training takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import ml_collections
from jax import Array

from sfvae_jax import config as configuration
from sfvae_jax import models
from sfvae_jax.training.objective import build_loss, model_functions, weights_at


def value_and_grad(
    config: ml_collections.ConfigDict, data_shape: tuple[int, ...]
) -> Callable[[Any, Array, Array], tuple[Array, Any]]:
    """(params, rng, x [B, ...]) -> (loss in nats per example, its gradient in the parameters).

    Args:
        config: resolved.
        data_shape: of one example.
    """
    model = models.build(config, data_shape)
    batch_loss = build_loss(config, None)
    schedules = configuration.schedules(config)

    def loss(params: Any, rng: Array, x: Array) -> Array:
        functions = model_functions(model, params, {})
        return batch_loss(rng, functions, x, weights_at(schedules, 0))[0]

    return jax.value_and_grad(loss)
