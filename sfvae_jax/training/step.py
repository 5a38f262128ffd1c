"""The train step: a pure function (state, batch) -> (state, metrics)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from sfvae_jax.data import to_unit_interval
from sfvae_jax.objectives import Schedule
from sfvae_jax.training.objective import ExampleElbo
from sfvae_jax.training.state import TrainState

Metrics = dict[str, Array]


class Batch(NamedTuple):
    """One device's share of a batch.

    Attributes:
        images: stored images [b, ...].
        positions: places of these examples in the batch of all devices, [b].
    """

    images: Array
    positions: Array


def make_train_step(
    model: nn.Module,
    elbo: ExampleElbo,
    optimizer: optax.GradientTransformation,
    gamma: Schedule,
    rng: Array,
    *,
    axis_name: str,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The step that minimises the mean over the batch of -ELBO, in nats per example.

    The example at place i of the batch draws from `fold_in(fold_in(rng, step), i)`, and gradients
    and metrics are means over the named axis: one device with batch B and D devices with B/D each
    take the same step.
    """

    def loss_fn(params: Any, x: Array, keys: Array, gamma: Array) -> tuple[Array, Metrics]:
        def decode(z: Array) -> Array:
            return model.apply(params, z, method="decode")

        def example_elbo(key: Array, x: Array) -> Any:
            return elbo(key, decode, x, model.apply(params, x, method="encode"), gamma)

        elbos = jax.vmap(example_elbo)(keys, x)
        loss = -jnp.mean(elbos.value)
        parts = {"log_likelihood": jnp.mean(elbos.log_likelihood), "kl": jnp.mean(elbos.kl)}
        return loss, {"loss": loss, **parts}

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        step_rng = jax.random.fold_in(rng, state.step)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(step_rng, batch.positions)
        step_gamma = jnp.asarray(gamma(state.step), jnp.float32)
        grads, metrics = jax.grad(loss_fn, has_aux=True)(
            state.params, to_unit_interval(batch.images), keys, step_gamma
        )
        grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norms = {"grad_norm": optax.tree.norm(grads), "param_norm": optax.tree.norm(params)}
        metrics |= {**norms, "gamma": step_gamma}
        return TrainState(state.step + 1, params, opt_state), metrics

    return train_step
