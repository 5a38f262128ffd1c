"""log p(x) by importance sampling with the model's own posterior, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.evaluation.bounds import gaussian_constant, map_bound
from sfvae_jax.evaluation.codes import NotApplicable, TrainedModel
from sfvae_jax.evaluation.precision import standard_error

METRICS = (
    "marginal_likelihood",
    "marginal_likelihood_without_constant",
    "marginal_likelihood_standard_error",
    "marginal_likelihood_monte_carlo_error",
    "effective_sample_size",
    "least_effective_sample_size",
)


class _Sums(NamedTuple):
    """Of the weights met so far, scaled so that the largest is 1."""

    maximum: Array  # of the log weights
    total: Array  # of w / exp(maximum)
    squares: Array  # of the squares of that


def importance_log_evidence(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: Any,
    likelihood: Any,
    *,
    num_samples: int,
    chunk_size: int,
    prior_stddev: Array | float = 1.0,
) -> tuple[Array, Array, Array]:
    """The log of the mean importance weight of K samples, and how far it can be trusted.

    log p(x) ~= log 1/K sum_k w_k,   w_k = p(x | decode(z_k)) p(z_k) / q(z_k|x),   z_k ~ q(z|x)

    (SFVAE Section 4.2, which takes K = 50,000; with K samples it is the IWAE bound, GAPS Eq. 9.)
    The mean weight is unbiased for p(x); its log is low by half the squared standard error, to
    first order. With the effective sample size ESS = (sum w)^2 / sum w^2 the delta method gives

        standard error of the log = sd(w) / (sqrt(K) mean(w)) = sqrt(1/ESS - 1/K)

    Both see only where q has put samples: a posterior that misses a mode of p(z|x) altogether
    shows in neither. Chunks are decoded one after the other, and only three running sums are kept,
    so that memory does not grow with K. Sample k draws from `fold_in(rng, k)`: the chunk size
    changes the rounding alone.

    Args:
        rng: key of this example's noise.
        decode: maps one latent [m] to the likelihood's parameters.
        x: one example.
        posterior: q(z|x), with `sample_and_log_prob`.
        likelihood: p(x|z), with `log_prob(x, parameters)`.
        num_samples: K, at least 1.
        chunk_size: samples decoded at once, at least 1.
        prior_stddev: prior standard deviations, a scalar or [m].

    Returns:
        (log_evidence, effective_sample_size, standard_error), scalars: in nats, in samples between
        1 and K, and in nats.

    Raises:
        ValueError: if num_samples or chunk_size is less than 1.
    """
    if num_samples < 1 or chunk_size < 1:
        raise ValueError(
            f"num_samples and chunk_size must be at least 1, got {num_samples} and {chunk_size}"
        )
    chunk_size = min(chunk_size, num_samples)

    def log_weight(index: Array) -> Array:
        z, log_q = posterior.sample_and_log_prob(jax.random.fold_in(rng, index))
        log_prior = objectives.gaussian_log_prob(z, jnp.zeros_like(z), jnp.square(prior_stddev))
        log_weight = likelihood.log_prob(x, decode(z)) + log_prior - log_q
        return jnp.where(index < num_samples, log_weight, -jnp.inf)  # the last chunk's rest

    def add(sums: _Sums, first: Array) -> tuple[_Sums, None]:
        return _add(sums, jax.vmap(log_weight)(first + jnp.arange(chunk_size))), None

    dtype = jax.eval_shape(log_weight, 0).dtype
    empty = _Sums(jnp.array(-jnp.inf, dtype), jnp.zeros((), dtype), jnp.zeros((), dtype))
    sums, _ = jax.lax.scan(add, empty, jnp.arange(0, num_samples, chunk_size))
    effective = jnp.square(sums.total) / sums.squares
    # Equal weights leave nothing but rounding, which may be negative.
    variance = jnp.maximum(1.0 / effective - 1.0 / num_samples, 0.0)
    log_evidence = sums.maximum + jnp.log(sums.total) - math.log(num_samples)
    return log_evidence, effective, jnp.sqrt(variance)


def evaluate_marginal_likelihood(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> dict[str, float | NotApplicable]:
    """The evaluation `marginal_likelihood`: log p(x) of the first `num_images` images, in nats.

    `marginal_likelihood` is the mean over the images, with all constants, and
    `marginal_likelihood_without_constant` that mean without the Gaussian's -n/2 log(2 pi c). Of
    its two errors `..._standard_error` is what another draw of images would change, their standard
    deviation over sqrt(N), Monte Carlo noise included; `..._monte_carlo_error` is what another draw
    of latents for the same images would change, sqrt(sum_i se_i^2) / N. `effective_sample_size` is
    the mean over the images, `least_effective_sample_size` the smallest.

    One image at a time is decoded, `chunk_size` latents at once.
    """
    images = trained.images[: options.num_images or None]
    estimates = map_bound(
        trained,
        importance_log_evidence,
        images,
        batch_size=1,
        num_samples=options.num_samples,
        chunk_size=options.chunk_size,
    )
    values, effective, errors = (np.asarray(part, np.float64) for part in estimates)
    mean, num_images = float(np.mean(values)), len(images)
    constant = gaussian_constant(trained)
    return {
        "marginal_likelihood": mean,
        "marginal_likelihood_without_constant": constant
        if isinstance(constant, NotApplicable)
        else mean + constant,
        "marginal_likelihood_standard_error": standard_error(values),
        "marginal_likelihood_monte_carlo_error": float(np.linalg.norm(errors) / num_images),
        "effective_sample_size": float(np.mean(effective)),
        "least_effective_sample_size": float(np.min(effective)),
    }


def _add(sums: _Sums, log_weights: Array) -> _Sums:
    """The sums with these weights [chunk] counted too, scaled to the new largest."""
    maximum = jnp.maximum(sums.maximum, jnp.max(log_weights))
    scale = jnp.where(jnp.isneginf(maximum), 0.0, maximum)  # all weights zero so far
    weights = jnp.exp(log_weights - scale)
    kept = jnp.exp(sums.maximum - scale)
    return _Sums(
        maximum,
        sums.total * kept + jnp.sum(weights),
        sums.squares * jnp.square(kept) + jnp.sum(jnp.square(weights)),
    )
