"""How the values of the examples of a batch become a loss: the one place where they are reduced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.numerics.checks import ArgumentError, is_off
from sfvae_jax.objectives.spec import BatchOptions, Loss, ObjectiveInfo, Value, Weights
from sfvae_jax.objectives.weights import batch_free_bits_kl, free_bits_kl, weighted_value

Metrics = dict[str, Array]


def loss_and_metrics(
    value: Value,
    info: ObjectiveInfo,
    options: BatchOptions,
    weights: Weights,
    of_sequences: bool,
    axis_name: str | None,
) -> tuple[Array, Metrics]:
    """Reduces the value of a batch to its loss, which is minimised, and its metrics.

    Args:
        value: the value of every example, with a leading axis [B], or that of the batch, a scalar.
        info: the objective.
        options: its options.
        weights: the values of the schedules at this step.
        of_sequences: whether the examples are sequences.
        axis_name: axis over which the batch is shared; None if one device has all of it.
    """
    if isinstance(value, Elbo):
        return _of_elbos(value, info, options, weights, axis_name)
    if isinstance(value, Loss):
        return _of_losses(value, info, options, of_sequences)
    return -_mean(value), {}


def _of_elbos(
    elbos: Elbo,
    info: ObjectiveInfo,
    options: BatchOptions,
    weights: Weights,
    axis_name: str | None,
) -> tuple[Array, Metrics]:
    """Returns minus the mean of the weighted ELBOs [B], and the means of their parts."""
    metrics = {
        "log_likelihood": jnp.mean(elbos.log_likelihood),
        "kl": jnp.mean(elbos.kl),
        "beta": weights.beta,
        "entropy_weight": weights.entropy,
    }
    if "gamma" in info.options:
        metrics["gamma"] = weights.gamma
    loss = -jnp.mean(_weighted(elbos, options, weights, axis_name))
    if elbos.bend is not None:
        metrics["bend"] = jnp.mean(elbos.bend)
        loss = loss + options.bend_weight * metrics["bend"]
    return loss, metrics


def _weighted(elbos: Elbo, options: BatchOptions, weights: Weights, axis_name: str | None) -> Array:
    """Returns ELBOs [B] with their weights and, if `free_bits` is set, with free bits."""
    if is_off(options.free_bits):
        return weighted_value(elbos, beta=weights.beta, entropy_weight=weights.entropy)
    kls, groups = elbos.kl_per_dimension, options.free_bits_groups or None
    if kls is None:  # the closed form joins all dimensions, so they are one group
        if groups is not None and len(groups) > 1:
            raise ArgumentError(
                f"free_bits_groups {groups}: the dimensions of this posterior are correlated, so"
                " that they are one group; leave free_bits_groups out"
            )
        kls, groups = elbos.kl[:, None], None
    floor: dict[str, Any] = {"minimum": options.free_bits, "group_sizes": groups}
    if options.free_bits_of_batch:
        kl = batch_free_bits_kl(kls, axis_name=axis_name, **floor)
    else:
        kl = jax.vmap(lambda kl: free_bits_kl(kl, **floor))(kls)
    return elbos.log_likelihood - weights.beta * kl


def _of_losses(
    losses: Loss, info: ObjectiveInfo, options: BatchOptions, of_sequences: bool
) -> tuple[Array, Metrics]:
    """Returns the mean of losses [B], and metrics: the means of their terms and of the error."""
    value = _mean(losses.value)
    metrics = {name: _mean(term) for name, term in losses.terms.items()}
    if info.term_weights is None:
        return value, metrics
    error = value
    for name, weight in info.term_weights(options).items():
        error = error - weight * metrics[name]
    fit = {"log_likelihood": -error} if of_sequences else {"squared_error": error}
    return value, fit | metrics


def _mean(values: Array) -> Array:
    """Returns the mean over examples; a scalar is already the mean of a batch."""
    return jnp.mean(values) if values.ndim else values
