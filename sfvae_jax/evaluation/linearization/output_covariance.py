"""The covariance of a decoder's output under a posterior, and estimates of it.

z ~ q, a Gaussian posterior, f the decoder, n its outputs, Sigma = Cov f(z). Every n x n matrix here
is A A' or a sum of such, and is represented by its factor A [n, r] with few columns. Frobenius
products are <A A', B B'> = |A' B|_F^2, so that no n x n matrix is formed.

Sigma itself is estimated from many samples of f(z), in pairs of chunks. With T_a and T_b the
unbiased sample covariances of two chunks, independent of each other and of an estimate E,

    E <E - T_a, E - T_b> = |E - Sigma|_F^2

holds exactly: the noise of the truth, which |E - T|_F^2 would count as an error of E, drops out.
The spread of the P pairs gives the standard error of their mean. Chunks of b samples cost n b^2 P
products in all, 1 / (2 P) of what the whole Gram matrix of the true samples would cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.objectives.numerics.gaussian_posterior import latents
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.objectives.numerics.tangents import push_basis
from sfvae_jax.objectives.spec import GaussianPosterior

# Up to this number of outputs n, |Sigma|_F^2 comes from all pairs of chunks, by an n x n matrix.
DENSE_OUTPUTS = 1024


class CovarianceStatistics(NamedTuple):
    """Statistics of E estimates for one example: the linearisation, then one per sample count.

    Attributes:
        own: |E|_F^2, the mean over the groups of samples, [E].
        inner: <E, T> with both chunks of every pair, the mean over the groups, [P, 2, E].
        pairs: <T_a, T_b> of every pair, [P].
        truth: |Sigma|_F^2, unbiased, a scalar.
        correlation: the Pearson correlation, over the outputs, of the estimated variances with the
            true ones, the mean over the groups, [E]; nan if either is the same for all outputs.
        variance_ratio: the sum of the linearised variances over that of the true ones, a scalar.
    """

    own: Array
    inner: Array
    pairs: Array
    truth: Array
    correlation: Array
    variance_ratio: Array


def covariance_statistics(
    rng: Array,
    decode: Callable[[Array], Array],
    mean: Array | GaussianPosterior,
    stddev: Array | None = None,
    *,
    sample_counts: Sequence[int],
    num_truth: int,
    chunk_size: int = 500,
) -> CovarianceStatistics:
    """Compares linearised and sampled covariances of a decoder's output with the truth (SFVAE 4.1).

    linearised   U U', U = J diag(stddev), J the Jacobian at the mean   (SFVAE Eq. 12); U = J L for
                 a posterior N(mean, L L')
    k samples    the unbiased sample covariance. The samples of the largest count are cut into as
                 many groups of k as they fill, and measures are means over the groups
    truth        num_truth other samples, in pairs of chunks

    Args:
        rng: the key of this example's noise.
        decode: maps one latent [m] to an array of any shape with n elements.
        mean: posterior mean, [m]; or a Gaussian posterior, with stddev left out.
        stddev: posterior standard deviations, [m].
        sample_counts: the k, each at least 2.
        num_truth: samples for the truth, at least 8; those that would not fill a pair are left out.
        chunk_size: the largest number of samples in a chunk. Memory grows with it, not with
            num_truth; noise falls with it.

    Returns:
        The statistics from which `covariance_errors` and the other measures follow.

    Raises:
        ValueError: if a count or num_truth is too small.
    """
    if min(sample_counts) < 2 or num_truth < 8 or chunk_size < 2:
        raise ValueError(
            "sample counts must be 2 or more, num_truth 8 or more and chunk_size 2 or more, got"
            f" {tuple(sample_counts)}, {num_truth} and {chunk_size}"
        )
    q = latents(mean, stddev)
    center, rows = push_basis(decode, q.mean, directions=q.directions)
    factor = rows.reshape(q.mean.size, -1).T * q.scale[None, :]  # U [n, m]

    def draws(rng: Array, first: Array | int, number: int) -> Array:
        """Returns outputs at samples of q, less the output at the mean, [number, n]."""

        def draw(index: Array) -> Array:
            noise = jax.random.normal(jax.random.fold_in(rng, index), q.mean.shape, q.mean.dtype)
            return (decode(q.mean + q.deviations(noise[None])[0]) - center).ravel()

        return jax.vmap(draw)(first + jnp.arange(number))

    truth_rng, estimate_rng = jax.random.split(rng)
    samples = draws(estimate_rng, 0, max(sample_counts))  # [K, n]
    num_pairs, size = pairs_of_chunks(num_truth, chunk_size)

    def measure(totals: tuple[Array, ...], first: Array) -> tuple[tuple[Array, ...], tuple]:
        starts = first + size * jnp.arange(2)
        chunks = centered(jax.lax.map(lambda start: draws(truth_rng, start, size), starts))
        inner = [_inner_products(chunk, factor, samples, sample_counts) for chunk in chunks]
        pair = squared_norm(matmul(chunks[0], chunks[1].T))
        return _add_chunks(totals, chunks), (jnp.stack(inner), pair)

    firsts = jnp.arange(0, 2 * size * num_pairs, 2 * size)
    totals = _no_chunks(center.size, q.mean.dtype)
    totals, (inner, pairs) = jax.lax.scan(measure, totals, firsts)
    variance = totals[0] / (2 * num_pairs)
    linearized = jnp.sum(jnp.square(factor), axis=1)
    own = [squared_norm(matmul(factor.T, factor))]
    correlations = [correlation(linearized, variance)]
    for count in sample_counts:
        sampled_own, sampled_correlation = _own_measures(groups(samples, count), variance)
        own.append(sampled_own)
        correlations.append(sampled_correlation)
    return CovarianceStatistics(
        own=jnp.stack(own),
        inner=inner,
        pairs=pairs,
        truth=_squared_norm_of_all_pairs(totals, num_pairs) if len(totals) > 1 else jnp.mean(pairs),
        correlation=jnp.stack(correlations),
        variance_ratio=jnp.sum(linearized) / jnp.sum(variance),
    )


def covariance_errors(statistics: CovarianceStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Returns an unbiased |E - Sigma|_F^2 of every estimate, and what the truth's noise adds to it.

    It is own - 2 mean(inner) + truth, in float64, since the terms cancel if an estimate is good.
    Being unbiased, it may be negative then.

    Args:
        statistics: of one example, or of several along leading axes.

    Returns:
        (errors, standard_errors), each [..., E]. The standard errors are those of P pairs. If
        |Sigma|_F^2 comes from all pairs of chunks, the true ones are smaller.
    """
    own, inner, pairs, truth = (np.asarray(part, np.float64) for part in statistics[:4])
    errors = own - 2.0 * inner.mean(axis=(-3, -2)) + truth[..., None]
    by_pair = own[..., None, :] - inner.sum(axis=-2) + pairs[..., None]  # [..., P, E]
    return errors, by_pair.std(axis=-2, ddof=1) / math.sqrt(pairs.shape[-1])


def pairs_of_chunks(num_truth: int, chunk_size: int) -> tuple[int, int]:
    """Returns (pairs, samples in a chunk): at least two pairs of equal chunks, up to the size."""
    num_pairs = max(2, math.ceil(num_truth / (2 * chunk_size)))
    return num_pairs, num_truth // (2 * num_pairs)


def groups(samples: Array, count: int) -> Array:
    """Cuts samples [K, ...] into whole groups of `count`, [K // count, count, ...]."""
    number = samples.shape[0] // count
    return samples[: number * count].reshape(number, count, *samples.shape[1:])


def centered(samples: Array) -> Array:
    """Returns (samples - mean) / sqrt(k - 1) of [..., k, n]: A' where A A' is their covariance."""
    mean = jnp.mean(samples, axis=-2, keepdims=True)
    return (samples - mean) / math.sqrt(samples.shape[-2] - 1)


def correlation(first: Array, second: Array) -> Array:
    """Returns the Pearson correlation of two vectors [n], a scalar."""
    first, second = first - jnp.mean(first), second - jnp.mean(second)
    scale = jnp.sqrt(jnp.sum(jnp.square(first)) * jnp.sum(jnp.square(second)))
    return jnp.sum(first * second) / scale


def squared_norm(matrix: Array) -> Array:
    """Returns the squared Frobenius norm, by `matmul`, whose partial sums keep float32's digits."""
    flat = matrix.ravel()
    return matmul(flat, flat)


def _own_measures(samples: Array, true_variance: Array) -> tuple[Array, Array]:
    """Returns |E|_F^2 and the variances' correlation with the true ones, means over groups."""
    group = centered(samples)
    own = jax.vmap(lambda a: squared_norm(matmul(a, a.T)))(group)
    variances = jnp.sum(jnp.square(group), axis=1)
    correlations = jax.vmap(correlation, (0, None))(variances, true_variance)
    return jnp.mean(own), jnp.mean(correlations)


def _inner_products(chunk: Array, factor: Array, samples: Array, counts: Sequence[int]) -> Array:
    """Returns <E, T> of every estimate with the covariance of a centered chunk [b, n], [E]."""
    products = matmul(samples, chunk.T)  # [K, b]; to center its rows is to center the samples
    sampled = [
        jnp.mean(jax.vmap(squared_norm)(centered(groups(products, count)))) for count in counts
    ]
    return jnp.stack([squared_norm(matmul(chunk, factor)), *sampled])


def _no_chunks(num_outputs: int, dtype: jnp.dtype) -> tuple[Array, ...]:
    variance = jnp.zeros(num_outputs, dtype)
    if num_outputs > DENSE_OUTPUTS:
        return (variance,)
    return variance, jnp.zeros((num_outputs, num_outputs), dtype), jnp.zeros((), dtype)


def _add_chunks(totals: tuple[Array, ...], chunks: Array) -> tuple[Array, ...]:
    """Adds chunks [2, b, n] to the sums of diag T and, with few outputs, of T and |T|_F^2."""
    variance = totals[0] + jnp.sum(jnp.square(chunks), axis=(0, 1))
    if len(totals) == 1:
        return (variance,)
    both = chunks.reshape(-1, chunks.shape[-1])
    own = sum(squared_norm(matmul(chunk, chunk.T)) for chunk in chunks)
    return variance, totals[1] + matmul(both.T, both), totals[2] + own


def _squared_norm_of_all_pairs(totals: tuple[Array, ...], num_pairs: int) -> Array:
    """Returns the mean of <T_a, T_b> over all pairs of different chunks, of C chunks.

    It is (|sum T|^2 - sum |T|^2) / (C (C - 1)).
    """
    number = 2 * num_pairs
    return (squared_norm(totals[1]) - totals[2]) / (number * (number - 1))
