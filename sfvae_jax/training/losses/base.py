"""The loss and the metrics of one device's share of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax import data, likelihoods, objectives
from sfvae_jax.objectives import Batch, Elbo, Example, Loss, ObjectiveInfo, Weights
from sfvae_jax.objectives.numerics.batch import example_keys
from sfvae_jax.objectives.spec import Value
from sfvae_jax.training.losses.model_functions import Functions

Metrics = dict[str, Array]

BatchLoss = Callable[[Array, Functions, Array, Weights], tuple[Array, Metrics]]
"""Maps the key of a step, a model's functions, x [b, ...] and weights to a loss and metrics.

Loss and metrics of the whole batch are the means of theirs over the devices.
"""


def weights_at(schedules: Sequence[objectives.Schedule], step: Array) -> Weights:
    """Returns the values of the schedules at a step; they are in the order of `Weights`."""
    return Weights(*(jnp.asarray(schedule(step), jnp.float32) for schedule in schedules))


def build_loss(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    """Builds the loss per example of the objective that a config names; training minimises it.

    Args:
        config: a resolved config.
        axis_name: axis over which the batch is shared, or None for a batch on one device.
    """
    info, options = objectives.OBJECTIVES[config.objective.name], config.objective
    of_sequences = likelihoods.LIKELIHOODS[config.likelihood.name].of_sequences
    likelihood = likelihoods.build(config.likelihood, data.language(config.data))
    given = {"posterior_variance": config.posterior.variance, "likelihood": likelihood}

    def of_examples(rng: Array, functions: Functions, x: Array, weights: Weights) -> Value:
        def of_example(key: Array, x: Array) -> Value:
            example = Example(
                rng=key,
                x=x,
                posterior=functions.encode(x),
                decode=functions.decode_given(x),
                tangent_decode=functions.tangent_decode,
                decoder_params=functions.decoder_params,
                of_sequences=of_sequences,
                options=options,
                weights=weights,
                **given,
            )
            assert info.of_example is not None
            return info.of_example(example)

        return jax.vmap(of_example)(example_keys(rng, x.shape[0], axis_name), x)

    def of_batch(rng: Array, functions: Functions, x: Array) -> Value:
        batch = Batch(
            rng=rng,
            x=x,
            means=jax.vmap(lambda x: functions.encode(x).mean)(x),
            decode=functions.decode,
            decode_given=functions.decode_given,
            options=options,
            axis_name=axis_name,
            **given,
        )
        assert info.of_batch is not None
        return info.of_batch(batch)

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        if info.batch_statistic:
            value = of_batch(rng, functions, x)
        else:
            value = of_examples(rng, functions, x, weights)
        if isinstance(value, Elbo):
            return _of_elbos(value, info, options, weights, axis_name)
        if isinstance(value, Loss):
            return _of_losses(value, info, options, of_sequences)
        return -_mean(value), {}

    return loss


def _of_elbos(
    elbos: Elbo,
    info: ObjectiveInfo,
    options: ml_collections.ConfigDict,
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
    return -jnp.mean(_weighted(elbos, options, weights, axis_name)), metrics


def _weighted(
    elbos: Elbo, options: ml_collections.ConfigDict, weights: Weights, axis_name: str | None
) -> Array:
    """Returns ELBOs [B] with their weights and, if `free_bits` is set, with free bits."""
    if not options.free_bits:
        entropy, beta = weights.entropy, weights.beta
        return objectives.weighted_value(elbos, beta=beta, entropy_weight=entropy)
    kls, groups = elbos.kl_per_dimension, options.free_bits_groups or None
    if kls is None:  # the closed form joins all dimensions, so they are one group
        kls, groups = elbos.kl[:, None], None
    floor = {"minimum": options.free_bits, "group_sizes": groups}
    if options.free_bits_of_batch:
        kl = objectives.batch_free_bits_kl(kls, axis_name=axis_name, **floor)
    else:
        kl = jax.vmap(lambda kl: objectives.free_bits_kl(kl, **floor))(kls)
    return elbos.log_likelihood - weights.beta * kl


def _of_losses(
    losses: Loss, info: ObjectiveInfo, options: ml_collections.ConfigDict, of_sequences: bool
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
