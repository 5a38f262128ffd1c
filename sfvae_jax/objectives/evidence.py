"""The log evidence of a locally linear decoder, and how far a Gaussian posterior is from it.

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder". Its m and n are
swapped here: m is the latent size and n the data size. S is the prior's standard deviation, c the
observation variance (the paper's T; I where it leaves it out), J the n x m Jacobian of the decoder
at the posterior mean mu, Sigma the posterior covariance.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.gaussian import (
    gaussian_entropy,
    gaussian_expected_log_prior,
    gaussian_kl_per_dimension,
    gaussian_log_prob,
    latent_gaussian,
)
from sfvae_jax.objectives.linearized import scalar_or_per_element, tangent_gaussian_log_prob
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_example,
    check_positive,
    check_square,
    check_vector,
    per_element,
    shape_of,
)
from sfvae_jax.objectives.numerics.linear_algebra import inverse_and_log_det, matmul
from sfvae_jax.objectives.numerics.precision import wide
from sfvae_jax.objectives.tangents import tangents


def linearized_elbo(
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array,
    stddev: Array,
    *,
    observation_variance: Array | float,
    prior_stddev: Array | float = 1.0,
    tangent_decode: Callable[[Array], Array] | None = None,
) -> Elbo:
    """The ELBO of a Gaussian VAE with the decoder replaced by its tangent at the posterior mean.

        log_likelihood = log N(x; f(mu), diag(c)) - 1/2 tr(J' diag(1/c) J Sigma)
        kl             = KL(N(mu, Sigma) || N(0, diag(prior_stddev^2))),   Sigma = diag(stddev^2)

    (BACK Eq. 17, whose "m log 2 pi" is n log 2 pi here.) For a decoder that is linear where the
    posterior has its mass it is the ELBO, exactly, without a sample. Elsewhere it approximates it
    and bounds nothing. Unlike `sampling_free_elbo` it expects the logarithm, not the density.

    Args:
        decode: maps one latent [m] to a mean shaped like x.
        x: one example, of any shape with n elements.
        mean: posterior mean mu, [m].
        stddev: posterior standard deviations, positive, a scalar or [m].
        observation_variance: c, positive; a scalar or one per element, shaped like x or [n].
        prior_stddev: prior standard deviations, positive, a scalar or [m].
        tangent_decode: as in `sampling_free_elbo`.

    Returns:
        An `Elbo` of scalars, in nats, with `kl_per_dimension` [m].

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation or variance is known not to be
            positive.
    """
    check_vector("mean", mean)
    x_hat, jacobian = tangents(decode, mean, tangent_decode)
    check_example(x, x_hat)
    mean, stddev, prior_stddev = latent_gaussian(mean, stddev, prior_stddev)
    variance = scalar_or_per_element(observation_variance, x_hat)
    # tr(J' diag(1/c) J Sigma) asks for the diagonal of the first product alone.
    trace = jnp.sum(jacobian.gram_diagonal(variance) * jnp.square(stddev))
    return Elbo(
        log_likelihood=gaussian_log_prob(x.ravel(), x_hat.ravel(), variance) - 0.5 * trace,
        log_prior=gaussian_expected_log_prior(mean, stddev, prior_stddev),
        entropy=gaussian_entropy(stddev),
        kl_per_dimension=gaussian_kl_per_dimension(mean, stddev, prior_stddev),
    )


def log_evidence(
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array,
    *,
    observation_variance: Array | float,
    prior_stddev: Array | float = 1.0,
    tangent_decode: Callable[[Array], Array] | None = None,
) -> Array:
    """log p(x) of the decoder's tangent at mu, by a change of variables; no posterior variance.

    -1/2 [n log 2 pi + |S^-1 mu|^2 + r' diag(1/c) r + log det(J S^2 J' + diag(c))],
    r = x - f(mu), S = diag(prior_stddev)

    (BACK Eq. 16 for c = 1, Eq. 26 for its T = diag(c). Eq. 16 prints J J' S^2 where shapes ask for
    J S^2 J', which Eq. 26 has. The paper's m is the data size, n here.) The determinant comes from
    an m x m system. For a linear decoder and mu the exact posterior mean it is log p(x) itself; for
    another mu it is less. For a curved decoder it is an approximation and bounds nothing.

    Args:
        decode: maps one latent [m] to a mean shaped like x.
        x: one example, of any shape with n elements.
        mean: the code mu, [m].
        observation_variance: c, positive; a scalar or one per element, shaped like x or [n].
        prior_stddev: prior standard deviations, positive, a scalar or [m].
        tangent_decode: as in `sampling_free_elbo`.

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation or variance is known not to be
            positive.
    """
    prior_stddev = _prior(mean, prior_stddev)
    x_hat, jacobian = tangents(decode, mean, tangent_decode)
    check_example(x, x_hat)
    # gamma = 0 keeps the determinant of J S^2 J' + diag(c) and leaves the residual unwhitened.
    variance = scalar_or_per_element(observation_variance, x_hat)
    residual = (wide(x_hat) - wide(x)).ravel()
    noise = tangent_gaussian_log_prob(residual, jacobian, prior_stddev, variance, gamma=0.0)
    return noise - 0.5 * jnp.sum(jnp.square(wide(mean) / prior_stddev))


def posterior_precision(
    decode: Callable[[Array], Array],
    mean: Array,
    *,
    observation_variance: Array | float,
    prior_stddev: Array | float = 1.0,
) -> Array:
    """Precision of the posterior that the decoder's tangent at mu implies.

    S^-2 + J' diag(1/c) J   (BACK Eqs. 12 and 25, for c = 1)

    With `likelihood.fisher` as 1/c, and `decode` giving the likelihood's mean, it is the
    generalisation that the paper asserts for other likelihoods.

    Args:
        decode: maps one latent [m] to a mean of any shape with n elements.
        mean: the code mu, [m].
        observation_variance: c, positive; a scalar or one per element, shaped like the mean or [n].
        prior_stddev: prior standard deviations, positive, a scalar or [m].

    Returns:
        Shape [m, m], symmetric positive definite.

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation or variance is known not to be
            positive.
    """
    prior_precision = 1.0 / jnp.square(_prior(mean, prior_stddev))
    x_hat, jacobian = tangents(decode, mean)
    variance = scalar_or_per_element(observation_variance, x_hat)
    return jnp.diag(prior_precision) + jacobian.gram(variance)


def posterior_gap(precision: Array, covariance: Array) -> Array:
    """How far the linearised ELBO of a posterior covariance lies below the log evidence.

    1/2 [tr(A Sigma) - log det(e A Sigma)],   A = S^-2 + J' diag(1/c) J

    (BACK Eq. 18: `log_evidence` - `linearized_elbo`; Eq. 19 says that it is least, 0, at
    Sigma = A^-1.) It is KL(N(mu, Sigma) || N(mu, A^-1)).

    Args:
        precision: A, [m, m], as from `posterior_precision`.
        covariance: Sigma, [m, m], or its diagonal [m].

    Returns:
        A scalar, in nats, at least 0.

    Raises:
        ArgumentError: if the shapes do not fit, or a variance is known not to be positive.
    """
    precision, covariance = _checked(precision, covariance)
    _, log_det = inverse_and_log_det(precision)
    if covariance.ndim == 1:
        trace = jnp.sum(jnp.diagonal(precision) * covariance)
        log_det += jnp.sum(jnp.log(covariance))
    else:
        trace = jnp.sum(precision * covariance.T)
        log_det += inverse_and_log_det(covariance)[1]
    return 0.5 * (trace - precision.shape[0] - log_det)


def posterior_gap_second_order(precision: Array, covariance: Array) -> Array:
    """The leading term of `posterior_gap` around Sigma = A^-1.

    1/4 tr((A Sigma - I)^2)   (BACK Eq. 21, which writes tr^2(M) for tr(M^2))

    Args:
        precision: A, [m, m].
        covariance: Sigma, [m, m], or its diagonal [m].

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if the shapes do not fit, or a variance is known not to be positive.
    """
    precision, covariance = _checked(precision, covariance)
    covariance = jnp.diag(covariance) if covariance.ndim == 1 else covariance
    excess = matmul(precision, covariance) - jnp.eye(precision.shape[0], dtype=precision.dtype)
    return 0.25 * jnp.sum(excess * excess.T)


def constant_variance_penalty(precisions: Array) -> tuple[Array, Array]:
    """What one posterior covariance for all examples costs, in nats per example.

    With A_i the examples' precisions and Sigma = (mean_i A_i)^-1, the best constant covariance:

        exact        = mean_i 1/2 [tr(A_i Sigma) - log det(e A_i Sigma)]   (BACK Eq. 18)
        second order = mean_i 1/4 tr((A_i Sigma - I)^2)                   (BACK Eqs. 21, 22)

    The second is a quarter of the squared coefficient of variation of A, as the paper writes it.

    Args:
        precisions: A_i, [N, m, m], as from `posterior_precision`.

    Returns:
        (exact, second order), scalars.

    Raises:
        ArgumentError: if the shapes do not fit.
    """
    if len(shape_of("precisions", precisions)) != 3:
        raise ArgumentError(f"precisions must have shape [N, m, m], got shape {precisions.shape}")
    precisions = wide(precisions)
    covariance, _ = inverse_and_log_det(jnp.mean(precisions, axis=0))
    exact = jax.vmap(posterior_gap, (0, None))(precisions, covariance)
    second_order = jax.vmap(posterior_gap_second_order, (0, None))(precisions, covariance)
    return jnp.mean(exact), jnp.mean(second_order)


def _prior(mean: Array, prior_stddev: Array | float) -> Array:
    """The prior's standard deviations [m], in 32 bits at least."""
    check_vector("mean", mean)
    check_positive("prior_stddev", prior_stddev)
    return per_element("prior_stddev", wide(prior_stddev), wide(mean))


def _checked(precision: Array, covariance: Array) -> tuple[Array, Array]:
    """Both in 32 bits at least."""
    check_square("precision", precision)
    m = precision.shape[0]
    if shape_of("covariance", covariance) == (m,):
        check_positive("covariance", covariance)
    else:
        check_square("covariance", covariance, m)
    return wide((precision, covariance))
