"""The step by its formulas and generic differentiation, with which the library's is compared.

The networks are the library's, with XLA's own convolutions, or with the library's products of rows
in their place, and no shortcuts. Only the m x m system is solved by
`objectives.numerics.linear_algebra`, because XLA's batched factorisations may hang.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax import models
from sfvae_jax.objectives.numerics.linear_algebra import inverse_and_log_det

_LOG_2_PI = math.log(2.0 * math.pi)

# (params, noise [B, m], x [B, ...]) -> loss
Loss = Callable[[Any, Array, Array], Array]


def value_and_grad(
    config: ml_collections.ConfigDict, data_shape: tuple[int, ...], lowering: str = "native"
) -> Callable[[Any, Array, Array], tuple[Array, Any]]:
    """Returns (params, rng, x [B, ...]) -> (loss in nats per example, its gradient in the params).

    Args:
        config: a resolved config with the objective "sampling_free" or "sampling".
        data_shape: the shape of one example.
        lowering: how layers are computed, as `model.lowering` has it.
    """
    loss = make_loss(config, data_shape, lowering)

    def with_noise(params: Any, rng: Array, x: Array) -> Array:
        return loss(params, jax.random.normal(rng, (x.shape[0], config.model.latent_size)), x)

    step = jax.value_and_grad(with_noise)

    def in_precision(params: Any, rng: Array, x: Array) -> tuple[Array, Any]:
        with jax.default_matmul_precision(config.train.matmul_precision):
            return step(params, rng, x)

    return in_precision


def make_loss(
    config: ml_collections.ConfigDict, data_shape: tuple[int, ...], lowering: str = "native"
) -> Loss:
    """Returns the loss for given noise, which the sampling-free loss does not use."""
    model = models.build(_with_lowering(config, lowering), data_shape)
    variance, gamma = config.likelihood.variance, config.objective.gamma
    by_name = {"sampling_free": _sampling_free, "sampling": _sampling}
    log_likelihood = by_name[config.objective.name]

    def example(params: Any, noise: Array, x: Array) -> Array:
        posterior = model.apply(params, x, method="encode")
        decode = _decoder(model, params)
        settings = {"variance": variance, "gamma": gamma}
        value = log_likelihood(decode, x, posterior.mean, posterior.stddev, noise, **settings)
        return _kl(posterior.mean, posterior.stddev) - value

    return lambda params, noise, x: jnp.mean(jax.vmap(example, (None, 0, 0))(params, noise, x))


def _with_lowering(config: ml_collections.ConfigDict, lowering: str) -> ml_collections.ConfigDict:
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.lowering = lowering
    return config


def _decoder(model: nn.Module, params: Any) -> Callable[[Array], Array]:
    return lambda z: model.apply(params, z, method="decode").ravel()


def _sampling_free(
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array,
    stddev: Array,
    noise: Array,
    *,
    variance: float,
    gamma: float,
) -> Array:
    """SFVAE Eqs. 18-21."""
    del noise
    x_hat, jacobian = _jacobian(decode, mean)
    residual = x_hat - x.ravel()
    factor = jacobian * stddev[None, :]  # U [n, m]
    system = factor.T @ factor / variance + jnp.eye(mean.size)
    inverse, log_det = inverse_and_log_det(system)
    projection = factor.T @ residual / variance
    quadratic = projection @ inverse @ projection
    return _independent(residual, variance) - 0.5 * log_det + 0.5 * gamma * quadratic


def _jacobian(decode: Callable[[Array], Array], z: Array) -> tuple[Array, Array]:
    """Returns value [n] and Jacobian [n, m], with a tangent pass for each basis direction."""

    def push_forward(direction: Array) -> tuple[Array, Array]:
        return jax.jvp(decode, (z,), (direction,))

    return jax.vmap(push_forward, out_axes=(None, -1))(jnp.eye(z.size))


def _sampling(
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array,
    stddev: Array,
    noise: Array,
    *,
    variance: float,
    gamma: float,
) -> Array:
    """SFVAE Eqs. 7-9 with one sample."""
    del gamma
    return _independent(decode(mean + stddev * noise) - x.ravel(), variance)


def _independent(residual: Array, variance: float) -> Array:
    squares = jnp.sum(jnp.square(residual))
    return -0.5 * (residual.size * (_LOG_2_PI + math.log(variance)) + squares / variance)


def _kl(mean: Array, stddev: Array) -> Array:
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.square(stddev) - 1.0 - 2.0 * jnp.log(stddev))
