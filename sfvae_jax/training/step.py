"""The train step: a pure function (state, batch) -> (state, metrics)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import optax
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.data import binarize_now, to_unit_interval
from sfvae_jax.objectives import Schedule
from sfvae_jax.objectives.batch import example_keys
from sfvae_jax.training.batch_norm import batch_moments, moving_average
from sfvae_jax.training.fixed_decoder import without_gradient
from sfvae_jax.training.objective import (
    Metrics,
    Weights,
    build_loss,
    model_functions,
    weights_at,
)
from sfvae_jax.training.spectral import Vectors, normalize
from sfvae_jax.training.state import TrainState

_PIXELS = 2**31 - 1  # folded into an example's key for its pixels, apart from its posterior's noise


def make_train_step(
    config: ml_collections.ConfigDict,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedules: Sequence[Schedule],
    rng: Array,
    *,
    axis_name: str,
) -> Callable[[TrainState, Array], tuple[TrainState, Metrics]]:
    """The step that minimises a resolved config's objective, averaged over the batch.

    The step takes one device's share of the stored images. `schedules` are the weights of
    `Weights`, in its order, as functions of the step.

    The example at place i of the batch draws from `fold_in(fold_in(rng, step), i)`, and gradients
    and metrics are means over the named axis: one device with batch B and D devices with B/D each
    take the same step.
    """
    batch_loss = build_loss(config, axis_name)
    # Where the objective decodes samples of a posterior, BatchNorm's moments are of one too.
    deterministic = objectives.OBJECTIVES[config.objective.name].deterministic
    at_center = deterministic or config.posterior.name == "none"
    binarize_anew = config.data.binarization == "dynamic"

    def loss_fn(
        params: Any, state: TrainState, rng: Array, x: Array, weights: Weights
    ) -> tuple[Array, tuple[Metrics, Vectors, Any]]:
        if config.train.decoder_from:
            params = without_gradient(params)
        params, vectors = normalize(params, state.vectors)
        moments = batch_moments(
            model,
            {**params, "batch_stats": state.batch_stats},
            rng,
            x,
            at_center=at_center,
            axis_name=axis_name,
        )
        functions = model_functions(model, params, moments, config.objective.jacobian_dtype)
        loss, metrics = batch_loss(rng, functions, x, weights)
        return loss, ({"loss": loss, **metrics}, vectors, moments)

    def train_step(state: TrainState, images: Array) -> tuple[TrainState, Metrics]:
        step_rng = jax.random.fold_in(rng, state.step)
        x = to_unit_interval(images)
        if binarize_anew:
            keys = example_keys(step_rng, x.shape[0], axis_name)
            pixel_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _PIXELS)
            x = jax.vmap(binarize_now)(pixel_keys, x)
        x = config.data.scale * x
        weights = weights_at(schedules, state.step)
        grads, (metrics, vectors, moments) = jax.grad(loss_fn, has_aux=True)(
            state.params, state, step_rng, x, weights
        )
        grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        scale = state.plateau.scale
        params = optax.apply_updates(state.params, optax.tree.scale(scale, updates))
        following = TrainState(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            vectors=vectors,
            batch_stats=moving_average(
                state.batch_stats, moments, state.step, config.train.moments_decay
            ),
            plateau=state.plateau,
        )
        sizes = {
            "grad_norm": optax.tree.norm(grads),
            "param_norm": optax.tree.norm(params),
            "learning_rate_scale": scale,
        }
        return following, metrics | sizes

    return train_step
