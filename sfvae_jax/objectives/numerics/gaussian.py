"""Log densities, entropies and KL divergences of diagonal Gaussians, in nats with constants."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import (
    check_positive,
    check_shape,
    check_vector,
    per_element,
    shape_of,
)
from sfvae_jax.objectives.numerics.precision import wide

LOG_2_PI = 1.8378770664093453


def latent_gaussian(
    mean: Array, stddev: Array | float, prior_stddev: Array | float = 1.0
) -> tuple[Array, Array, Array]:
    """Checks the mean and the deviations of a diagonal posterior and its prior; makes all [m].

    Args:
        mean: [m].
        stddev: positive, a scalar or [m].
        prior_stddev: positive, a scalar or [m].

    Returns:
        (mean, stddev, prior_stddev), in at least 32 bits.

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation is known not to be positive.
    """
    check_vector("mean", mean)
    check_positive("stddev", stddev)
    check_positive("prior_stddev", prior_stddev)
    mean, stddev, prior_stddev = wide((mean, stddev, prior_stddev))
    stddev = per_element("stddev", stddev, mean)
    return mean, stddev, per_element("prior_stddev", prior_stddev, mean)


def prior_deviations(mean: Array, prior_stddev: Array | float) -> Array:
    """Checks the standard deviations of the prior of a code [m] and makes them [m].

    Returns:
        Shape [m], in at least 32 bits.

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation is known not to be positive.
    """
    check_vector("mean", mean)
    check_positive("prior_stddev", prior_stddev)
    return per_element("prior_stddev", wide(prior_stddev), wide(mean))


def gaussian_log_prob(x: Array, mean: Array, variance: Array | float) -> Array:
    """Log density of x under N(mean, diag(variance)), summed over all of x.

    log N(x; mu, diag(c)) = -1/2 sum_j [log(2 pi c_j) + (x_j - mu_j)^2 / c_j]   (SFVAE Eq. 9)

    Args:
        x: data of any shape.
        mean: mean, the shape of x.
        variance: positive variance, a scalar or the shape of x.

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if the shapes do not fit, or a variance is known not to be positive.
    """
    check_shape("x", x, shape_of("the mean", mean), ", as its mean has")
    check_positive("variance", variance)
    x, mean, variance = wide((x, mean, variance))
    variance = per_element("variance", variance, x)
    # Over the axes of an image XLA's CPU backend takes longer (docs/speed.md).
    x, mean, variance = x.ravel(), mean.ravel(), variance.ravel()
    return -0.5 * jnp.sum(LOG_2_PI + jnp.log(variance) + jnp.square(x - mean) / variance)


def standard_normal_log_prob(noise: Array) -> Array:
    """log N(e; 0, I) = -1/2 sum_i [log 2 pi + e_i^2], in nats, a scalar."""
    noise = wide(noise)
    return -0.5 * jnp.sum(LOG_2_PI + jnp.square(noise))


def gaussian_entropy(stddev: Array | float) -> Array:
    """Entropy of N(., diag(stddev^2)): sum_i [1/2 log(2 pi e) + log stddev_i].

    Args:
        stddev: positive standard deviations, [m].

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if stddev is not of rank 1, or known not to be positive.
    """
    check_vector("stddev", stddev)
    check_positive("stddev", stddev)
    stddev = wide(stddev)
    return jnp.sum(0.5 * (LOG_2_PI + 1.0) + jnp.log(stddev))


def gaussian_expected_log_prior(
    mean: Array, stddev: Array | float, prior_stddev: Array | float = 1.0
) -> Array:
    """E_q log p(z) for q = N(mean, diag(stddev^2)) and p = N(0, diag(prior_stddev^2)).

    -1/2 sum_i [log(2 pi s_i^2) + (mean_i^2 + stddev_i^2) / s_i^2],   s = prior_stddev

    Args:
        mean: posterior mean, [m].
        stddev: posterior standard deviations, positive, a scalar or [m].
        prior_stddev: prior standard deviations, positive, a scalar or [m].

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation is known not to be positive.
    """
    mean, stddev, prior_stddev = latent_gaussian(mean, stddev, prior_stddev)
    scaled_square = jnp.square(mean / prior_stddev) + jnp.square(stddev / prior_stddev)
    return -0.5 * jnp.sum(LOG_2_PI + 2.0 * jnp.log(prior_stddev) + scaled_square)


def gaussian_kl_per_dimension(
    mean: Array, stddev: Array | float, prior_stddev: Array | float = 1.0
) -> Array:
    """KL(N(mean_i, stddev_i^2) || N(0, prior_stddev_i^2)) of every latent dimension.

    KL_i = 1/2 [mean_i^2 / s_i^2 + stddev_i^2 / s_i^2 - 1 - log(stddev_i^2 / s_i^2)],
    s = prior_stddev   (the divergence in SFVAE Eqs. 20 and 22)

    It is computed with t = log(stddev / s) as 1/2 [(mean / s)^2 + expm1(2 t) - 2 t], which keeps
    its digits near collapse, where exp(2 t) - 1 cancels, and does not underflow for a tiny stddev.

    Args:
        mean: posterior mean, [m].
        stddev: posterior standard deviations, positive, a scalar or [m].
        prior_stddev: prior standard deviations, positive, a scalar or [m].

    Returns:
        Shape [m], in nats; its sum is the divergence of the whole posterior.

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation is known not to be positive.
    """
    mean, stddev, prior_stddev = latent_gaussian(mean, stddev, prior_stddev)
    log_ratio = jnp.log(stddev / prior_stddev)
    return 0.5 * (jnp.square(mean / prior_stddev) + jnp.expm1(2.0 * log_ratio) - 2.0 * log_ratio)
