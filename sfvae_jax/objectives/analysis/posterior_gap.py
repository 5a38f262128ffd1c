"""The gap between a Gaussian posterior and the one that a locally linear decoder implies.

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder". Its m and n are
swapped here: m is the latent size and n the data size. S is the prior's standard deviation, c the
observation variance (the paper's T, or I where the paper has no T), J the n x m Jacobian of the
decoder at the posterior mean mu, Sigma the posterior covariance.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_positive,
    check_square,
    shape_of,
)
from sfvae_jax.objectives.numerics.gaussian import prior_deviations
from sfvae_jax.objectives.numerics.linear_algebra import inverse_and_log_det, matmul
from sfvae_jax.objectives.numerics.precision import wide
from sfvae_jax.objectives.numerics.tangents import tangents
from sfvae_jax.objectives.sampling_free import scalar_or_per_element


def posterior_precision(
    decode: Callable[[Array], Array],
    mean: Array,
    *,
    observation_variance: Array | float,
    prior_stddev: Array | float = 1.0,
) -> Array:
    """The precision of the posterior that the decoder's tangent at mu implies.

    S^-2 + J' diag(1/c) J   (BACK Eqs. 12 and 25, for c = 1)

    If `decode` returns the likelihood's mean and 1/c is `likelihood.fisher`, this is the
    generalisation to other likelihoods that the paper states.

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
    prior_precision = 1.0 / jnp.square(prior_deviations(mean, prior_stddev))
    x_hat, jacobian = tangents(decode, mean)
    variance = scalar_or_per_element(observation_variance, x_hat)
    return jnp.diag(prior_precision) + jacobian.gram(variance)


def posterior_gap(precision: Array, covariance: Array) -> Array:
    """The distance by which a posterior's linearised ELBO lies below the log evidence.

    1/2 [tr(A Sigma) - log det(e A Sigma)],   A = S^-2 + J' diag(1/c) J

    (BACK Eq. 18: `log_evidence` - `linearized_elbo`; by Eq. 19 its minimum is 0, at Sigma = A^-1.)
    It is KL(N(mu, Sigma) || N(mu, A^-1)).

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
    """The cost of using one posterior covariance for all examples, in nats per example.

    With A_i the examples' precisions and Sigma = (mean_i A_i)^-1, the best constant covariance:

        exact        = mean_i 1/2 [tr(A_i Sigma) - log det(e A_i Sigma)]   (BACK Eq. 18)
        second order = mean_i 1/4 tr((A_i Sigma - I)^2)                   (BACK Eqs. 21, 22)

    The paper describes the second as a quarter of the squared coefficient of variation of A.

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


def _checked(precision: Array, covariance: Array) -> tuple[Array, Array]:
    """Checks both and widens them to at least 32 bits."""
    check_square("precision", precision)
    m = precision.shape[0]
    if shape_of("covariance", covariance) == (m,):
        check_positive("covariance", covariance)
    else:
        check_square("covariance", covariance, m)
    return wide((precision, covariance))
