"""Repeated draws of an estimator's gradient on a fixed batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax import models, objectives
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.noise import Stream
from sfvae_jax.evaluation.optimization.estimators import Estimator
from sfvae_jax.evaluation.trained_model import TrainedModel, program
from sfvae_jax.objectives.numerics.streams import stream_key
from sfvae_jax.posteriors import POSTERIORS

NETWORKS = ("encoder", "decoder")
BLOCKS = 10  # independent blocks of draws, from which standard errors are computed

ByNetwork = dict[str, Any]


class Draws(NamedTuple):
    """What the draws of a gradient give, for each network.

    Attributes:
        means: the mean gradient of each block of draws, [K, D] for D parameters; of an estimator
            without noise the gradient, [1, D].
        variances: an unbiased estimate from each block of the trace of the gradient's covariance,
            [K]; of an estimator without noise 0, [1].
    """

    means: ByNetwork
    variances: ByNetwork


def gradient_draws(
    trained: TrainedModel, estimator: Estimator, images: np.ndarray, num_draws: int, stream: Stream
) -> Draws:
    """Draws the gradient of the estimator's loss with respect to the parameters of each network.

    The loss is the mean over the batch, as in training. BatchNorm's moments are held fixed.

    Args:
        trained: the model.
        estimator: the objective, and its options.
        images: the stored examples of the batch, [B, ...].
        num_draws: number of independent draws, a multiple of `BLOCKS`; one draw is taken of an
            estimator without noise.
        stream: the stream that the noise comes from.

    Raises:
        NotApplicable: if the objective does not take the model's posterior or likelihood.
    """
    family = trained.posterior_family
    if not estimator.info.takes_posterior(POSTERIORS[family]):
        raise NotApplicable(f"objective {estimator.objective!r} does not take posterior {family!r}")
    keys = jax.random.split(stream_key(trained.rng, stream), num_draws)
    blocks = keys[:1, None] if estimator.deterministic else keys.reshape(BLOCKS, -1)
    of_training = {"gamma": trained.gamma, "log_det_weight": trained.log_det_weight}
    weights = {
        name: np.float32(value) for name, value in of_training.items() if _follows(estimator, name)
    }
    of_block = program(
        trained, ("gradient draws", estimator), lambda: jax.jit(_of_block(trained, estimator))
    )
    try:
        found = [jax.device_get(of_block(trained.params, images, k, weights)) for k in blocks]
    except objectives.ArgumentError as reason:
        raise NotApplicable(str(reason)) from reason
    means, variances = jax.tree.map(lambda *parts: np.stack(parts), *found)
    return Draws(means, variances)


def _follows(estimator: Estimator, option: str) -> bool:
    """Whether a weight that may change in training has its present value there."""
    return option in estimator.info.options and option not in dict(estimator.options)


def _of_block(trained: TrainedModel, estimator: Estimator) -> Callable[..., Any]:
    """Returns the function of a block of draws.

    It takes the variables, the stored batch, the keys of the draws and the weights of training, and
    returns the mean gradient of each network and the unbiased trace of its covariance, by Welford's
    recurrence: no gradient is stored, and no large numbers are subtracted.
    """

    def loss(params: Any, others: Any, x: Array, key: Array, weights: Any) -> Array:
        variables = {**others, "params": params}
        decode = models.decoder_function(trained.model, variables, len(x))
        forced = models.forced_decoder_function(trained.model, variables)
        value, _ = objectives.batch_loss(
            estimator.objective,
            key,
            decode,
            x,
            jax.vmap(lambda x: trained.encode(variables, x))(x),
            trained.likelihood,
            decode_given=None if forced is None else lambda x: lambda z: forced(z, x),
            **dict(estimator.options),
            **weights,
        )
        return value

    def of_block(variables: Any, images: Array, keys: Array, weights: Any) -> Any:
        others = {name: group for name, group in variables.items() if name != "params"}
        params, x = variables["params"], trained.pixels(images)

        def gradient(key: Array) -> ByNetwork:
            return by_network(jax.grad(loss)(params, others, x, key, weights))

        def add(state: tuple[ByNetwork, ByNetwork], numbered: tuple[Array, Array]) -> Any:
            (mean, spread), (count, key) = state, numbered
            drawn = gradient(key)
            new = {name: mean[name] + (drawn[name] - mean[name]) / count for name in NETWORKS}
            added = {
                name: jnp.vdot(drawn[name] - mean[name], drawn[name] - new[name])
                for name in NETWORKS
            }
            return (new, {name: spread[name] + added[name] for name in NETWORKS}), None

        number = len(keys)
        none = jax.tree.map(jnp.zeros_like, by_network(params))
        start = (none, dict.fromkeys(NETWORKS, jnp.zeros(())))
        counts = jnp.arange(1, number + 1, dtype=jnp.float32)
        (mean, spread), _ = jax.lax.scan(add, start, (counts, keys))
        return mean, {name: spread[name] / max(number - 1, 1) for name in NETWORKS}

    return of_block


def by_network(params: Any) -> ByNetwork:
    """Returns the parameters, or a gradient like them, as one vector for each network.

    What is not the decoder's belongs to the encoder, such as flows that all examples share.
    """
    leaves: dict[str, list[Array]] = {name: [] for name in NETWORKS}
    for name, group in params.items():
        network = "decoder" if name in models.DECODER_PARTS else "encoder"
        leaves[network] += [leaf.ravel() for leaf in jax.tree.leaves(group)]
    return {name: jnp.concatenate(vectors) for name, vectors in leaves.items()}
