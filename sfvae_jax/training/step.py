"""The train step: a pure function (state, batch, key) -> (state, metrics)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.data import as_seen, binarize_now
from sfvae_jax.models import Model
from sfvae_jax.objectives.numerics.batch import example_keys
from sfvae_jax.objectives.numerics.streams import ExampleStream, stream_key
from sfvae_jax.posteriors import POSTERIORS
from sfvae_jax.runtime.devices import device_memory
from sfvae_jax.training.frozen_decoder import without_gradient
from sfvae_jax.training.losses.base import Metrics, build_loss, weights_at
from sfvae_jax.training.losses.model_functions import model_functions
from sfvae_jax.training.memory_needs import forms_jacobian
from sfvae_jax.training.microbatch import (
    automatic_microbatch,
    gradient,
    tangent_bytes,
)
from sfvae_jax.training.normalization.batch_norm import batch_moments, moving_average
from sfvae_jax.training.normalization.spectral import Vectors
from sfvae_jax.training.schedules import make_schedules
from sfvae_jax.training.state import TrainState, TrainStep
from sfvae_jax.training.updates import ema

log = logging.getLogger("sfvae_jax")

# Stands for a norm that is not computed. A nan would end a run with JAX_DEBUG_NANS.
NOT_RECORDED = -1.0


def make_train_step(
    config: ml_collections.ConfigDict,
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    axis_name: str,
) -> TrainStep:
    """Returns the step that minimises a config's objective, averaged over the batch.

    The step takes one device's share of the stored examples, and the training key `rng` of the
    config's seed, which is an argument so that all seeds share one compiled program. The example at
    place i of the batch draws from `fold_in(fold_in(rng, step), i)`, and gradients and metrics are
    means over the named axis: one device with batch B and D devices with B/D each take the same
    step. So do chunks of `train.microbatch` examples. The norms among the metrics are
    `NOT_RECORDED` where `is_recorded` is false.

    Args:
        config: resolved.
        model: the one that it describes.
        optimizer: turns gradients into updates.
        axis_name: axis over which the batch is shared.
    """
    take_gradient = build_gradient(config, model, axis_name)

    def train_step(state: TrainState, stored: Array, rng: Array) -> tuple[TrainState, Metrics]:
        grads, metrics, (vectors, moments) = take_gradient(state, stored, rng)
        grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        scale = state.plateau.scale
        params = optax.apply_updates(state.params, optax.tree.scale(scale, updates))
        batch_stats = moving_average(
            state.batch_stats, moments, state.step, config.train.moments_decay
        )
        following = TrainState(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            vectors=vectors,
            batch_stats=batch_stats,
            plateau=state.plateau,
            best=state.best,
            average=ema.advance(
                state.average, params, batch_stats, state.step, config.train.ema_decay
            ),
        )
        norms = _norms_if(is_recorded(following.step, config.train), grads, params)
        return following, metrics | norms | {"learning_rate_scale": scale}

    return train_step


def build_gradient(
    config: ml_collections.ConfigDict,
    model: Model,
    axis_name: str | None,
) -> Callable[[TrainState, Array, Array], tuple[Any, Metrics, tuple[Vectors, Any]]]:
    """Returns the function that computes the gradient of a step on one device.

    It takes the state, the stored examples, and the key of the training, into which it folds the
    step. It returns the gradient, the metrics, and the vectors of spectral normalisation and
    moments of BatchNorm to go on with. Gradient and metrics of the whole batch are the means over
    the devices.

    Args:
        config: resolved.
        model: the one that it describes.
        axis_name: axis over which the batch is shared; None for a batch on one device.
    """
    batch_loss = build_loss(config, axis_name)
    schedules = make_schedules(config.objective, config.train.steps)
    info = objectives.OBJECTIVES[config.objective.name]
    # If the objective decodes samples of a posterior, so do BatchNorm's moments.
    # A posterior of the decoder can only be made when the moments are known.
    family = POSTERIORS[config.posterior.name]
    at_center = info.deterministic or not family.has_density or family.of_decoder is not None

    def take_gradient(
        state: TrainState, stored: Array, rng: Array
    ) -> tuple[Any, Metrics, tuple[Vectors, Any]]:
        step_rng = jax.random.fold_in(rng, state.step)
        keys = example_keys(step_rng, len(stored), axis_name)
        x = _as_seen(config.data, keys, stored)
        weights = weights_at(schedules, state.step)

        def prepare(params: Any) -> tuple[tuple[Any, Any], tuple[Vectors, Any]]:
            if config.train.decoder_from:
                params = without_gradient(params)
            params, vectors = objectives.spectral_normalize(params, state.vectors)
            variables = {**params, "batch_stats": state.batch_stats}
            moments = batch_moments(
                model, variables, keys, x, at_center=at_center, axis_name=axis_name
            )
            return (params, moments), (vectors, moments)

        def loss(shared: tuple[Any, Any], examples: tuple[Array, Array]) -> tuple[Array, Metrics]:
            params, moments = shared
            keys, x = examples
            dtype = config.objective.jacobian_dtype
            functions = model_functions(model, params, moments, dtype, batch_size=len(x))
            noise = step_rng if info.batch_statistic else keys
            value, metrics = batch_loss(noise, functions, x, weights)
            return value, {"loss": value, **metrics}

        microbatch = _microbatch(config, model, state, len(stored))
        with jax.default_matmul_precision(config.train.matmul_precision):
            return gradient(prepare, loss, state.params, (keys, x), microbatch)

    return take_gradient


def _as_seen(config: ml_collections.ConfigDict, keys: Array, stored: Array) -> Array:
    """Converts stored examples, each with its key, to what the objective sees."""
    if config.binarization != "dynamic":
        return as_seen(stored, config.scale)
    keys = jax.vmap(stream_key, (0, None))(keys, ExampleStream.PIXELS)
    return config.scale * jax.vmap(binarize_now)(keys, as_seen(stored))


def _microbatch(
    config: ml_collections.ConfigDict, model: Model, state: TrainState, share: int
) -> int:
    if config.train.microbatch:
        return config.train.microbatch
    info, objective = objectives.OBJECTIVES[config.objective.name], config.objective
    whole = info.batch_statistic or objective.free_bits_of_batch
    if whole or not forms_jacobian(config):
        return share
    functions = model_functions(
        model, state.params, state.batch_stats, objective.jacobian_dtype, batch_size=share
    )
    decode = functions.tangent_decode or functions.decode
    bytes_each = tangent_bytes(decode, config.model.latent_size)
    microbatch = automatic_microbatch(share, bytes_each, device_memory())
    if microbatch < share:
        log.info(
            "computing the gradients of %d of %d examples at a time, to save memory",
            microbatch,
            share,
        )
    return microbatch


def is_recorded(step: Any, config: ml_collections.ConfigDict) -> Any:
    """Whether metrics.jsonl holds a step: first, last, every `log_every`th, or validated.

    Args:
        step: an integer or an array of them.
        config: the group `train`.
    """
    recorded = (step == 1) | (step == config.steps) | (step % config.log_every == 0)
    return recorded | (step % config.validate_every == 0) if config.validate_every else recorded


def _norms_if(wanted: Array, grads: Any, params: Any) -> Metrics:
    """Computes the norms of gradient and parameters if wanted; otherwise they are `NOT_RECORDED`.

    For a small network they would take a fifth of the step.
    """

    def norms() -> Metrics:
        return {"grad_norm": optax.tree.norm(grads), "param_norm": optax.tree.norm(params)}

    def nothing() -> Metrics:
        return jax.tree.map(lambda norm: jnp.full_like(norm, NOT_RECORDED), jax.eval_shape(norms))

    return jax.lax.cond(wanted, norms, nothing)
