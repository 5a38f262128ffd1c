"""The loss and the metrics of one device's share of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax import data, likelihoods, objectives, posteriors
from sfvae_jax.objectives import Batch, Example, Weights
from sfvae_jax.objectives.batch_tangents.known_tangents import known_tangents, with_known
from sfvae_jax.objectives.numerics.batch import example_keys
from sfvae_jax.objectives.reduction import Metrics, loss_and_metrics
from sfvae_jax.objectives.spec import Value
from sfvae_jax.training.losses.model_functions import Functions

# Maps the key of a step, a model's functions, x [b, ...] and weights to a loss and metrics.
# Loss and metrics of the whole batch are the means of theirs over the devices.
BatchLoss = Callable[[Array, Functions, Array, Weights], tuple[Array, Metrics]]


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
    traits = likelihoods.LIKELIHOODS[config.likelihood.name]
    family = posteriors.POSTERIORS[config.posterior.name]
    likelihood = likelihoods.build(config.likelihood, data.language(config.data))
    given = {
        "posterior_variance": config.posterior.variance,
        "likelihood": likelihood,
        "squared_error": traits.squared_error,
    }

    def of_examples(rng: Array, functions: Functions, x: Array, weights: Weights) -> Value:
        def means() -> Array:
            return jax.vmap(lambda x: functions.encode(x).mean)(x)

        given_decoder = functions.decode, functions.tangent_decode, likelihood
        known = known_tangents(info, options, *given_decoder, means, len(x))

        def of_example(key: Array, x: Array, known: Any) -> Value:
            decode = functions.decode_given(x)
            example = Example(
                rng=key,
                x=x,
                posterior=family.posterior(functions.encode(x), decode, x, likelihood),
                decode=with_known(decode, known),
                tangent_decode=functions.tangent_decode,
                decoder_params=functions.decoder_params,
                of_sequences=traits.of_sequences,
                options=options,
                weights=weights,
                **given,
            )
            assert info.of_example is not None
            return info.of_example(example)

        return jax.vmap(of_example)(example_keys(rng, x.shape[0], axis_name), x, known)

    def of_batch(rng: Array, functions: Functions, x: Array) -> Value:
        batch = Batch(
            rng=rng,
            x=x,
            means=jax.vmap(lambda x: functions.encode(x).mean)(x),
            decode=functions.decode,
            decode_given=functions.decode_given,
            tangent_decode=functions.tangent_decode,
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
        return loss_and_metrics(value, info, options, weights, traits.of_sequences, axis_name)

    return loss
