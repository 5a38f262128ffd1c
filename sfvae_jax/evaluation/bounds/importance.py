"""What the importance weights of one example say about log p(x), in constant memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.likelihoods import Likelihood
from sfvae_jax.posteriors import Posterior


class ImportanceStatistics(NamedTuple):
    """Statistics of the K importance weights w_k of one example; scalars.

    Attributes:
        log_evidence: log 1/K sum_k w_k in nats, the IWAE bound of K samples (GAPS Eq. 9).
        effective_sample_size: (sum w)^2 / sum w^2, in samples between 1 and K.
        standard_error: the Monte Carlo error of log_evidence, in nats; nan for K = 1.
        lower_bound: 1/K sum_k log w_k in nats, the ELBO.
        lower_bound_standard_error: the Monte Carlo error of lower_bound, in nats; nan for K = 1.
    """

    log_evidence: Array
    effective_sample_size: Array
    standard_error: Array
    lower_bound: Array
    lower_bound_standard_error: Array


class _Sums(NamedTuple):
    """Sums over the weights so far, scaled so that the largest weight is 1."""

    maximum: Array  # the largest log weight
    total: Array  # sum of w / exp(maximum)
    squares: Array  # sum of its squares


class _Moments(NamedTuple):
    """Moments of the log weights so far, relative to the first one.

    A log weight near 15,000 has three digits after the point in float32. The difference of two that
    are near each other is exact, so that the mean of such differences keeps its digits.
    """

    number: Array  # how many there are
    first: Array  # the first log weight
    mean: Array  # mean of the differences from it
    squares: Array  # sum of the squared deviations from that mean


def importance_statistics(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: Posterior,
    likelihood: Likelihood,
    *,
    num_samples: int,
    chunk_size: int,
    prior_stddev: Array | float = 1.0,
) -> ImportanceStatistics:
    """Returns the ELBO and the IWAE bound of the same K samples, and how far to trust each.

    w_k = p(x | decode(z_k)) p(z_k) / q(z_k|x),   z_k ~ q(z|x)
    ELBO = 1/K sum_k log w_k  <=  log 1/K sum_k w_k ~= log p(x)   (GAPS Eqs. 3 and 9)

    The mean weight is unbiased for p(x); its log is low by half the squared standard error, to
    first order. With the effective sample size ESS = (sum w)^2 / sum w^2 the delta method gives

        standard error of the log = sd(w) / (sqrt(K) mean(w)) = sqrt((1/ESS - 1/K) K / (K - 1))

    Neither shows that a posterior misses a mode of p(z|x) altogether, where q puts no samples. The
    ELBO's error is sd(log w) / sqrt(K). Chunks are decoded one after the other and only running
    sums are kept, so that memory does not grow with K. Sample k draws from `fold_in(rng, k)`: the
    chunk size changes nothing but the rounding.

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
        `ImportanceStatistics` of scalars.

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
        return likelihood.log_prob(x, decode(z)) + log_prior - log_q

    def add(found: tuple[_Sums, _Moments], start: Array) -> tuple[tuple[_Sums, _Moments], None]:
        indices = start + jnp.arange(chunk_size)
        counted = indices < num_samples  # the last chunk may reach beyond the last sample
        log_weights, (sums, moments) = jax.vmap(log_weight)(indices), found
        sums = _add(sums, jnp.where(counted, log_weights, -jnp.inf))
        return (sums, _merge(moments, log_weights, counted)), None

    zero = jnp.zeros((), jax.eval_shape(log_weight, 0).dtype)
    empty = _Sums(zero - jnp.inf, zero, zero), _Moments(zero, zero, zero, zero)
    (sums, moments), _ = jax.lax.scan(add, empty, jnp.arange(0, num_samples, chunk_size))
    effective = jnp.square(sums.total) / sums.squares
    # If all weights are equal, only rounding is left, which may be negative.
    variance = jnp.maximum(1.0 / effective - 1.0 / num_samples, 0.0)
    degrees = num_samples - 1 if num_samples > 1 else math.nan  # one weight has no deviation
    return ImportanceStatistics(
        log_evidence=sums.maximum + jnp.log(sums.total) - math.log(num_samples),
        effective_sample_size=effective,
        standard_error=jnp.sqrt(variance * num_samples / degrees),
        lower_bound=moments.first + moments.mean,
        lower_bound_standard_error=jnp.sqrt(moments.squares / (moments.number - 1.0) / num_samples),
    )


def importance_log_evidence(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: Posterior,
    likelihood: Likelihood,
    *,
    num_samples: int,
    chunk_size: int,
    prior_stddev: Array | float = 1.0,
) -> tuple[Array, Array, Array]:
    """Returns the log of the mean importance weight of K samples, and how far to trust it.

    log p(x) ~= log 1/K sum_k w_k,   w_k = p(x | decode(z_k)) p(z_k) / q(z_k|x),   z_k ~ q(z|x)

    (SFVAE Section 4.2, which takes K = 50,000; with K samples it is the IWAE bound, GAPS Eq. 9.)
    These are the first three values of `importance_statistics`, which takes the same arguments.

    Returns:
        (log_evidence, effective_sample_size, standard_error), scalars: in nats, in samples between
        1 and K, and in nats.

    Raises:
        ValueError: if num_samples or chunk_size is less than 1.
    """
    sizes = {"num_samples": num_samples, "chunk_size": chunk_size}
    return importance_statistics(
        rng, decode, x, posterior, likelihood, prior_stddev=prior_stddev, **sizes
    )[:3]


def _add(sums: _Sums, log_weights: Array) -> _Sums:
    """Adds the weights of one chunk, and scales the sums to the new largest weight."""
    maximum = jnp.maximum(sums.maximum, jnp.max(log_weights))
    scale = jnp.where(jnp.isneginf(maximum), 0.0, maximum)  # all weights are zero so far
    weights = jnp.exp(log_weights - scale)
    kept = jnp.exp(sums.maximum - scale)
    return _Sums(
        maximum,
        sums.total * kept + jnp.sum(weights),
        sums.squares * jnp.square(kept) + jnp.sum(jnp.square(weights)),
    )


def _merge(moments: _Moments, log_weights: Array, counted: Array) -> _Moments:
    """Adds the log weights of one chunk, those that count (Chan et al., 1979)."""
    first = jnp.where(moments.number == 0, log_weights[0], moments.first)
    differences = log_weights - first
    added = jnp.sum(counted).astype(first.dtype)
    mean = jnp.sum(differences, where=counted) / added
    squares = jnp.sum(jnp.square(differences - mean), where=counted)
    number, change = moments.number + added, mean - moments.mean
    return _Moments(
        number,
        first,
        moments.mean + change * (added / number),
        moments.squares + squares + jnp.square(change) * (moments.number * added / number),
    )
