"""From a config's objective to the loss of one device's share of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax import data, likelihoods, models, objectives
from sfvae_jax.objectives.numerics.batch import example_keys

Metrics = dict[str, Array]


class Functions(NamedTuple):
    """What an objective sees of a model.

    Attributes:
        encode: x to a posterior.
        decode: a latent [m] to the likelihood's parameters.
        decoder_params: the decoder's own parameters.
        tangent_decode: the decoder whose Jacobian is taken; None: `decode`.
        forced_decode: a latent and the example x that its parameters score to these; None: `decode`
            whatever x. It is that of sequences, where a decoder may be fed x (teacher forcing).
    """

    encode: Callable[[Array], Any]
    decode: Callable[[Array], Any]
    decoder_params: Any
    tangent_decode: Callable[[Array], Array] | None = None
    forced_decode: Callable[[Array, Array], Any] | None = None

    def decode_given(self, x: Array) -> Callable[[Array], Any]:
        """The decoder whose parameters score the example x: a function of a latent [m]."""
        if self.forced_decode is None:
            return self.decode
        return lambda z: self.forced_decode(z, x)


def model_functions(
    model: nn.Module,
    params: Any,
    batch_stats: Any,
    jacobian_dtype: str = "float32",
    batch_size: int = 64,
) -> Functions:
    """The functions of a model with these parameters and moments of BatchNorm, if it has any.

    Args:
        model: to be applied.
        params: its parameters.
        batch_stats: its moments, or empty.
        jacobian_dtype: of the decoder's Jacobian.
        batch_size: examples that share the parameters in one call.
    """
    variables = {**params, "batch_stats": batch_stats} if batch_stats else params

    def forced_decode(z: Array, x: Array) -> Any:
        return model.apply(variables, z, x, method="decode_given")

    return Functions(
        encode=lambda x: model.apply(variables, x, method="encode"),
        decode=models.decoder_function(model, variables, batch_size),
        decoder_params=params["params"]["decoder"],
        tangent_decode=models.cast_decoder_function(model, variables, jacobian_dtype),
        forced_decode=None if isinstance(model, models.Vae) else forced_decode,
    )


class Weights(NamedTuple):
    """What the schedules give at one step."""

    gamma: Array
    beta: Array
    entropy: Array


def weights_at(schedules: Sequence[objectives.Schedule], step: Array) -> Weights:
    """What the schedules, in the order of `Weights`, give at a step."""
    return Weights(*(jnp.asarray(schedule(step), jnp.float32) for schedule in schedules))


# (rng of the step, functions, x [b, ...], weights) -> (loss, metrics). The mean over the devices of
# the loss is the loss of the whole batch, and the same holds for the metrics.
BatchLoss = Callable[[Array, Functions, Array, Weights], tuple[Array, Metrics]]


def build_loss(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    """The loss that a resolved config names, to be minimised, per example.

    Args:
        config: resolved.
        axis_name: axis over which the batch is shared, or None for a batch on one device.
    """
    return _BUILDERS[config.objective.name](config, axis_name)


def _of_elbos(
    elbos_of_batch: Callable[..., objectives.Elbo],
    config: ml_collections.ConfigDict,
    axis_name: str | None,
) -> BatchLoss:
    """The loss of an objective in parts: weighted, and with free bits where asked for."""
    settings = config.objective

    def values(elbos: objectives.Elbo, weights: Weights) -> Array:
        if not settings.free_bits:
            entropy, beta = weights.entropy, weights.beta
            return objectives.weighted_value(elbos, beta=beta, entropy_weight=entropy)
        kls, groups = elbos.kl_per_dimension, settings.free_bits_groups or None
        if kls is None:  # a closed form of all dimensions together alone: they are one group
            kls, groups = elbos.kl[:, None], None
        floor = {"minimum": settings.free_bits, "group_sizes": groups}
        if settings.free_bits_of_batch:
            kl = objectives.batch_free_bits_kl(kls, axis_name=axis_name, **floor)
        else:
            kl = jax.vmap(lambda kl: objectives.free_bits_kl(kl, **floor))(kls)
        return elbos.log_likelihood - weights.beta * kl

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        elbos = elbos_of_batch(rng, functions, x, weights)
        parts = {"log_likelihood": jnp.mean(elbos.log_likelihood), "kl": jnp.mean(elbos.kl)}
        used = {"beta": weights.beta, "entropy_weight": weights.entropy}
        return -jnp.mean(values(elbos, weights)), parts | used

    return loss


def _of_examples(
    value: Callable[..., Any], config: ml_collections.ConfigDict, axis_name: str | None
) -> BatchLoss:
    """The loss of an ELBO or a bound of one example: value(rng, functions, x, weights)."""
    in_parts = objectives.OBJECTIVES[config.objective.name].parts

    def values(rng: Array, functions: Functions, x: Array, weights: Weights) -> Any:
        keys = example_keys(rng, x.shape[0], axis_name)
        return jax.vmap(lambda key, x: value(key, functions, x, weights))(keys, x)

    if in_parts:
        return _of_elbos(values, config, axis_name)

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        return -jnp.mean(values(rng, functions, x, weights)), {}

    return loss


def _likelihood(config: ml_collections.ConfigDict) -> Any:
    return likelihoods.build(config.likelihood, data.language(config.data))


def _is_of_sequences(config: ml_collections.ConfigDict) -> bool:
    return config.likelihood.name in objectives.SEQUENCE_LIKELIHOODS


def _estimator(function: Callable[..., Any]) -> Callable[..., BatchLoss]:
    """A builder for an objective that samples one example's posterior."""

    def build(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
        likelihood = _likelihood(config)
        num_samples = config.objective.num_samples

        def value(rng: Array, functions: Functions, x: Array, weights: Weights) -> Any:
            del weights
            decode, posterior = functions.decode_given(x), functions.encode(x)
            return function(rng, decode, x, posterior, likelihood, num_samples=num_samples)

        return _of_examples(value, config, axis_name)

    return build


def _sampling_free(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    variance, log_det_weight = config.likelihood.variance, config.objective.log_det_weight

    def value(rng: Array, functions: Functions, x: Array, weights: Weights) -> objectives.Elbo:
        del rng
        q = functions.encode(x)
        return objectives.sampling_free_elbo(
            functions.decode,
            x,
            q.mean,
            q.stddev,
            observation_variance=variance,
            gamma=weights.gamma,
            log_det_weight=weights.gamma if log_det_weight == "gamma" else log_det_weight,
            tangent_decode=functions.tangent_decode,
        )

    plain = _of_examples(value, config, axis_name)

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        value, metrics = plain(rng, functions, x, weights)
        return value, metrics | {"gamma": weights.gamma}

    return loss


def _linearized(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    if _is_of_sequences(config):
        return _second_order(config, axis_name)
    variance = config.likelihood.variance

    def value(rng: Array, functions: Functions, x: Array, weights: Weights) -> objectives.Elbo:
        del rng, weights
        q = functions.encode(x)
        return objectives.linearized_elbo(
            functions.decode,
            x,
            q.mean,
            q.stddev,
            observation_variance=variance,
            tangent_decode=functions.tangent_decode,
        )

    return _of_examples(value, config, axis_name)


def _second_order(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    likelihood = _likelihood(config)

    def value(rng: Array, functions: Functions, x: Array, weights: Weights) -> objectives.Elbo:
        del rng, weights
        q = functions.encode(x)
        decode = functions.decode_given(x)
        return objectives.second_order_elbo(decode, x, q.mean, q.stddev, likelihood)

    return _of_examples(value, config, axis_name)


def _log_evidence(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    variance = config.likelihood.variance

    def value(rng: Array, functions: Functions, x: Array, weights: Weights) -> Array:
        del rng, weights
        code = functions.encode(x).mean
        return objectives.log_evidence(
            functions.decode,
            x,
            code,
            observation_variance=variance,
            tangent_decode=functions.tangent_decode,
        )

    return _of_examples(value, config, axis_name)


def _constant_variance(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    likelihood = _likelihood(config)

    def elbos(rng: Array, functions: Functions, x: Array, weights: Weights) -> objectives.Elbo:
        del weights
        means, variance = _constant_posterior(config, functions, x)
        given = _OfLatents(likelihood, functions)
        return objectives.constant_variance_elbo(
            rng, _identity, x, means, variance, given, axis_name=axis_name
        )

    return _of_elbos(elbos, config, axis_name)


def _bilbo(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    likelihood = _likelihood(config)

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        del weights
        means, variance = _constant_posterior(config, functions, x)
        given = _OfLatents(likelihood, functions)
        value = objectives.bilbo(rng, _identity, x, means, variance, given, axis_name=axis_name)
        return -value, {}

    return loss


def _bilbo_baggins(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    tau = config.objective.tau

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        del weights
        means, variance = _constant_posterior(config, functions, x)
        value = objectives.bilbo_baggins(
            rng, functions.decode, x, means, variance, tau=tau, axis_name=axis_name
        )
        return -value, {}

    return loss


class _OfLatents(NamedTuple):
    """p(x|z) with latents as its parameters, for objectives that decode a whole batch alike.

    A decoder that is fed x is another one for each example.
    """

    likelihood: Any
    functions: Functions

    def log_prob(self, x: Array, z: Array) -> Array:
        return self.likelihood.log_prob(x, self.functions.decode_given(x)(z))


def _identity(z: Array) -> Array:
    return z


def _constant_posterior(
    config: ml_collections.ConfigDict, functions: Functions, x: Array
) -> tuple[Array, Array]:
    """Means [b, m] and the one variance [m]."""
    means = jax.vmap(lambda x: functions.encode(x).mean)(x)
    return means, jnp.full(means.shape[1:], config.posterior.variance, means.dtype)


def _regularized(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    """autoencoder, rae, rae_l2, rae_gp; and rae_sn, whose decoder the step has normalised."""
    settings = config.objective
    size_weight = 0.0 if settings.name == "autoencoder" else settings.beta

    in_nats = _is_of_sequences(config)
    likelihood = _likelihood(config) if in_nats else None

    def penalty(rng: Array, functions: Functions, x: Array, z: Array) -> Array:
        decode = functions.decode_given(x)
        if settings.name == "rae_l2":
            return objectives.squared_norm(functions.decoder_params)
        if settings.name == "rae_gp" and settings.num_probes:
            probes = settings.num_probes
            return objectives.hutchinson_gradient_penalty(rng, decode, z, num_probes=probes)
        if settings.name == "rae_gp":
            return objectives.gradient_penalty(functions.tangent_decode or decode, z)
        return jnp.zeros(())

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        del weights

        def example(key: Array, x: Array) -> tuple[Array, Array, Array]:
            z = functions.encode(x).mean
            regularizer = penalty(key, functions, x, z)
            value = objectives.rae_loss(
                functions.decode_given(x),
                x,
                z,
                beta=size_weight,
                penalty=settings.penalty_weight * regularizer,
                likelihood=likelihood,
            )
            return value, jnp.sum(jnp.square(z)), regularizer

        keys = example_keys(rng, x.shape[0], axis_name)
        values, squares, penalties = (jnp.mean(part) for part in jax.vmap(example)(keys, x))
        error = values - 0.5 * size_weight * squares - settings.penalty_weight * penalties
        fit = {"log_likelihood": -error} if in_nats else {"squared_error": error}
        return values, fit | {"code_norm": squares, "penalty": penalties}

    return loss


def _cv_vae(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    settings, variance = config.objective, config.posterior.variance

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        del weights

        def example(key: Array, x: Array) -> tuple[Array, Array]:
            mean = functions.encode(x).mean
            value = objectives.cv_vae_loss(
                key, functions.decode, x, mean, variance=variance, beta=settings.beta
            )
            return value, jnp.sum(jnp.square(mean))

        keys = example_keys(rng, x.shape[0], axis_name)
        values, squares = (jnp.mean(part) for part in jax.vmap(example)(keys, x))
        return values, {"squared_error": values - settings.beta * squares, "code_norm": squares}

    return loss


def _wae_mmd(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchLoss:
    weight = config.objective.penalty_weight

    def loss(rng: Array, functions: Functions, x: Array, weights: Weights) -> tuple[Array, Metrics]:
        del weights
        codes = jax.vmap(lambda x: functions.encode(x).mean)(x)
        value = objectives.wae_mmd_loss(
            rng, functions.decode, x, codes, weight=weight, axis_name=axis_name
        )
        return value, {"code_norm": jnp.mean(jnp.sum(jnp.square(codes), axis=1))}

    return loss


_BUILDERS = {
    "sampling": _estimator(objectives.sampling_elbo),
    "sticking_the_landing": _estimator(objectives.sticking_the_landing_elbo),
    "iwae": _estimator(objectives.iwae_bound),
    "sampling_free": _sampling_free,
    "linearized": _linearized,
    "log_evidence": _log_evidence,
    "constant_variance": _constant_variance,
    "bilbo": _bilbo,
    "bilbo_baggins": _bilbo_baggins,
    "autoencoder": _regularized,
    "rae": _regularized,
    "rae_l2": _regularized,
    "rae_gp": _regularized,
    "rae_sn": _regularized,
    "cv_vae": _cv_vae,
    "wae_mmd": _wae_mmd,
}
