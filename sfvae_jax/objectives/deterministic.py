"""Losses of deterministic autoencoders: squared errors, as their papers have them, not nats.

RAE is Ghosh et al., "From Variational to Deterministic Autoencoders". All of these are minimised;
none bounds a likelihood. Where x is no vector, -log p(x|z) stands in for the squared error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.monte_carlo import log_likelihood_of
from sfvae_jax.objectives.numerics.batch import batch_mean, example_keys, whole_batch
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_at_least_one,
    check_batch,
    check_example,
    check_not_negative,
    check_one_for_each,
    check_per_element,
    check_scalar,
    check_shape,
    check_vector,
)
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide, wide_dtype
from sfvae_jax.objectives.tangents import tangents

MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Multiples of 2 m that the kernels of `maximum_mean_discrepancy` have as their scale."""


def squared_error(decode: Callable[[Array], Array], x: Array, z: Array) -> Array:
    """|x - decode(z)|^2, summed over the elements of one example   (RAE Eq. 8).

    Args:
        decode: maps one latent [m] to a reconstruction shaped like x.
        x: one example.
        z: its code, [m].

    Returns:
        A scalar, in squared units of x.

    Raises:
        ArgumentError: if the shapes do not fit.
    """
    check_vector("z", z)
    x_hat = decode(z)
    check_example(x, x_hat)
    return jnp.sum(jnp.square(wide(x) - wide(x_hat)))


def rae_loss(
    decode: Callable[[Array], Any],
    x: Array,
    z: Array,
    *,
    beta: Array | float,
    penalty: Array | float = 0.0,
    likelihood: Any = None,
) -> Array:
    """The loss of a regularised autoencoder on one example.

    |x - decode(z)|^2 + beta/2 |z|^2 + penalty   (RAE Eq. 11)

    With a likelihood, of sequences say, -log p(x | decode(z)) takes the place of the squared error
    (GrammarRAE, RAE Section 6.2). A beta or penalty that was chosen for squared errors of pixels is
    none for nats: half a squared error is one at variance 1, and a sequence has fewer terms.

    `penalty` is lambda L_REG, already weighted: `gradient_penalty` (RAE-GP), `squared_norm` of the
    decoder's parameters (RAE-L2), or nothing (RAE; and RAE-SN, which instead divides each of the
    decoder's weights by its `spectral_norm`). beta = 0 and no penalty is the plain autoencoder.

    Args:
        decode: maps one latent [m] to a reconstruction shaped like x, or the likelihood's
            parameters.
        x: one example.
        z: its code, [m].
        beta: weight of the code's size.
        penalty: the weighted regulariser of the decoder.
        likelihood: p(x|z), with `log_prob(x, parameters)`; None for the squared error.

    Returns:
        A scalar, in squared units of x, or in nats.

    Raises:
        ArgumentError: if the shapes do not fit.
    """
    check_vector("z", z)
    check_scalar("beta", beta)
    check_scalar("penalty", penalty)
    if likelihood is None:
        error = squared_error(decode, x, z)
    else:
        error = -log_likelihood_of(likelihood, x, decode(z))
    return error + 0.5 * wide(beta) * jnp.sum(jnp.square(wide(z))) + wide(penalty)


def gradient_penalty(decode: Callable[[Array], Any], z: Array) -> Array:
    """Squared Frobenius norm of the decoder's Jacobian with respect to its latent.

    |d decode(z) / d z|_F^2 = sum_ji J_ji^2   (L_GP of RAE Section 3.1)

    Of the whole Jacobian, n x m, neither of the gradient of a sum of outputs nor of the encoder's.
    One decoder pass and m tangent passes; `hutchinson_gradient_penalty` needs fewer.

    Args:
        decode: maps one latent [m] to a pytree of arrays of any shape, all of whose elements count.
        z: latent, [m].

    Returns:
        A scalar.

    Raises:
        ArgumentError: if z is not of rank 1.
    """
    _, jacobian = tangents(decode, z)
    return jnp.sum(jacobian.gram_diagonal(jnp.ones((), wide_dtype(z))))


def hutchinson_gradient_penalty(
    rng: Array, decode: Callable[[Array], Any], z: Array, *, num_probes: int = 1
) -> Array:
    """An unbiased estimate of `gradient_penalty` from a few directions.

    1/k sum_k |J u_k|^2,   u_k in {-1, 1}^m at random, so that E[u u'] = I

    The probes lie in the latent space: one tangent pass each, whatever n is, and less noise than
    probes of the n outputs. For a Jacobian with orthogonal columns one probe is exact.

    Args:
        rng: key of this example's probes.
        decode: maps one latent [m] to a pytree of arrays of any shape, all of whose elements count.
        z: latent, [m].
        num_probes: k, at least 1.

    Returns:
        A scalar.

    Raises:
        ArgumentError: if z is not of rank 1, or num_probes is less than 1.
    """
    check_vector("z", z)
    check_at_least_one("num_probes", num_probes)
    dtype = jax.dtypes.canonicalize_dtype(z.dtype)
    probes = jax.random.rademacher(rng, (num_probes, z.size), dtype)

    def squared_push(probe: Array) -> Array:
        return squared_norm(jax.jvp(decode, (z,), (probe,))[1])

    return jnp.mean(jax.vmap(squared_push)(probes))


def squared_norm(params: Any) -> Array:
    """Sum of the squares of every parameter in a tree   (|theta|^2, L_L2 of RAE Section 3.1)."""
    return sum(jnp.sum(jnp.square(wide(leaf))) for leaf in jax.tree.leaves(params))


def spectral_norm(kernel: Array, vector: Array, *, num_iterations: int = 1) -> tuple[Array, Array]:
    """Largest singular value of a layer's weight, by power iteration.

    With W the kernel as a matrix [fan_in, out]:  v <- W u / |W u|,  u <- W' v / |W' v|,  s = v' W u

    (Miyato et al., 2018; RAE Section 3.1.) A layer divided by s is normalised. s is differentiable
    in the kernel; u and v carry no gradient, so that d s / d W = v u', the derivative of the
    singular value once they have converged. Carry u from step to step: as weights move slowly, one
    iteration each is enough.

    Args:
        kernel: weight, output features on the last axis: [in, out] of a dense layer,
            [..., in, out] of a convolution.
        vector: u, the estimate of the right singular vector, [out], not zero; kept
            where the kernel is all zero.
        num_iterations: at least 1.

    Returns:
        (s, u): a scalar, and the vector to go on from.

    Raises:
        ArgumentError: if the shapes do not fit, or num_iterations is less than 1.
    """
    check_shape("vector", vector, kernel.shape[-1:], ", one for each output of the kernel")
    check_at_least_one("num_iterations", num_iterations)
    matrix = wide(kernel).reshape(-1, kernel.shape[-1])
    fixed, right = jax.lax.stop_gradient((matrix, wide(vector)))
    for _ in range(num_iterations):
        left = _unit(fixed @ right, jnp.zeros(fixed.shape[0], fixed.dtype))
        right = _unit(fixed.T @ left, right)
    return left @ matrix @ right, rounded_like(right, vector)


def cv_vae_loss(
    rng: Array,
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array,
    *,
    variance: Array | float,
    beta: Array | float = 1.0,
) -> Array:
    """The loss of a constant-variance VAE on one example.

    |x - decode(mean + sqrt(variance) eps)|^2 + beta |mean|^2,   eps ~ N(0, I)

    (RAE Eq. 10 and its L_KL^CV = |mean|^2, the divergence up to a factor and a constant.)

    Args:
        rng: key of this example's noise.
        decode: maps one latent [m] to a reconstruction shaped like x.
        x: one example.
        mean: its code, [m].
        variance: of the noise, not negative; a scalar or [m].
        beta: weight of the code's size.

    Returns:
        A scalar, in squared units of x.

    Raises:
        ArgumentError: if the shapes do not fit, or the variance is known to be negative.
    """
    check_vector("mean", mean)
    check_per_element("variance", variance, mean)
    check_not_negative("variance", variance)
    check_scalar("beta", beta)
    center = wide(mean)
    scale = jnp.broadcast_to(jnp.sqrt(wide(variance)), mean.shape)
    z = rounded_like(center + scale * normal_like(rng, mean), mean, variance)
    return squared_error(decode, x, z) + wide(beta) * jnp.sum(jnp.square(center))


def wae_mmd_loss(
    rng: Array,
    decode: Callable[[Array], Array],
    x: Array,
    z: Array,
    *,
    weight: Array | float,
    axis_name: str | None = None,
) -> Array:
    """The loss of a Wasserstein autoencoder whose codes are held to N(0, I) by their MMD.

    mean_i |x_i - decode(z_i)|^2 + weight MMD^2(z, e),   e_i ~ N(0, I)

    (Tolstikhin et al., 2018, as in RAE Table 1.) See `maximum_mean_discrepancy`.

    Args:
        rng: key of the step; prior sample i of the whole batch is drawn from `fold_in(rng, i)`.
        decode: maps one latent [m] to a reconstruction shaped like an example.
        x: the batch, [B, ...].
        z: its codes, [B, m].
        weight: of the discrepancy.
        axis_name: axis over which the batch is shared; the discrepancy is that of the whole batch.

    Returns:
        A scalar per example, in squared units of x, alike on all devices.

    Raises:
        ArgumentError: if the shapes do not fit, or the whole batch is a single example.
    """
    check_batch("z", z)
    check_scalar("weight", weight)
    check_one_for_each("x", x, "codes", z)
    errors = jax.vmap(lambda x, z: squared_error(decode, x, z))(x, z)
    keys = example_keys(rng, z.shape[0], axis_name)
    like = jax.ShapeDtypeStruct(z.shape[1:], z.dtype)
    prior = jax.vmap(lambda key: normal_like(key, like))(keys)
    codes, prior = (whole_batch(sample, axis_name) for sample in (z, prior))
    return batch_mean(errors, axis_name) + wide(weight) * maximum_mean_discrepancy(codes, prior)


def maximum_mean_discrepancy(
    first: Array, second: Array, *, scales: Sequence[float] = MMD_SCALES
) -> Array:
    """Unbiased estimate of the squared MMD between two samples.

    sum_s [mean_{i != j} k_s(a_i, a_j) + mean_{i != j} k_s(b_i, b_j) - 2 mean_ij k_s(a_i, b_j)],
    k_s(a, b) = C / (C + |a - b|^2),   C = 2 m s

    Inverse multiquadratic kernels at several scales, about the expected squared distance 2 m of
    two draws of N(0, I) (Tolstikhin et al., 2018). Its mean is 0 for two samples of one
    distribution, so that single values may be negative.

    Args:
        first: a, [A, m], at least two.
        second: b, [B, m], at least two.
        scales: s, positive.

    Returns:
        A scalar.

    Raises:
        ArgumentError: if the shapes do not fit, or a sample has fewer than two points.
    """
    check_batch("first", first, "[A, m]")
    check_batch("second", second)
    check_shape("second", second, (len(second), first.shape[1]), ", as many latents as the first")
    first, second = wide((first, second))
    if min(len(first), len(second)) < 2:
        raise ArgumentError(
            f"the unbiased MMD needs two points of each, got {len(first)} and {len(second)}"
        )
    constants = [2.0 * first.shape[1] * scale for scale in scales]

    def kernels(a: Array, b: Array) -> Array:
        lengths = [jnp.sum(jnp.square(points), axis=1) for points in (a, b)]
        squares = lengths[0][:, None] + lengths[1][None, :] - 2.0 * matmul(a, b.T)
        squares = jnp.maximum(squares, 0.0)  # rounding
        return sum(constant / (constant + squares) for constant in constants)

    def mean_of_pairs(a: Array) -> Array:
        values = kernels(a, a)
        return (jnp.sum(values) - jnp.trace(values)) / (len(a) * (len(a) - 1))

    cross = jnp.mean(kernels(first, second))
    return mean_of_pairs(first) + mean_of_pairs(second) - 2.0 * cross


def _unit(vector: Array, otherwise: Array) -> Array:
    """The vector at length 1, or what to have instead of one that is zero."""
    norm = jnp.linalg.norm(vector)
    return jnp.where(norm > 0.0, vector / jnp.where(norm > 0.0, norm, 1.0), otherwise)
