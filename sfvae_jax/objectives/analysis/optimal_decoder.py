"""The decoder that maximises the ELBO for given posteriors, in closed form (BACK, Section 4.1).

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder". For N examples x_i
with posteriors q_i = N(mu_i, diag(s_i^2)), the mean over them of E_q_i |x_i - f(z)|^2 is minimised,
at each z separately, by the mean of the examples weighted with their posteriors' densities at z.
The same f maximises the expected log likelihood of a Gaussian whose variance does not depend on i,
and of a Bernoulli with mean f.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_batch,
    check_one_for_each,
    check_positive,
    check_vector,
)
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.objectives.numerics.precision import wide


def posterior_shares(z: Array, means: Array, stddevs: Array | float) -> Array:
    """Returns the share that each posterior has in the aggregated posterior's density at a latent.

    w_i(z) = N(z; mu_i, diag(s_i^2)) / sum_j N(z; mu_j, diag(s_j^2))   (in BACK Eq. 6)

    Args:
        z: a latent, [m].
        means: posterior means mu_i, [N, m].
        stddevs: posterior standard deviations s_i, positive; a scalar, [m] or [N, m].

    Returns:
        Shares that sum to 1, [N].

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation is known not to be positive.
    """
    z, means, stddevs = _checked(z, means, stddevs)
    scaled = (z[None, :] - means) / stddevs
    return jax.nn.softmax(-jnp.sum(0.5 * jnp.square(scaled) + jnp.log(stddevs), axis=1))


def optimal_decoder(z: Array, x: Array, means: Array, stddevs: Array | float) -> Array:
    """The output at a latent of the best decoder for these examples and posteriors.

    f*(z) = sum_i w_i(z) x_i,   w_i from `posterior_shares`   (BACK Eq. 6)

    Args:
        z: a latent, [m].
        x: examples, [N, ...], each with n elements.
        means: posterior means mu_i, [N, m].
        stddevs: posterior standard deviations s_i, positive; a scalar, [m] or [N, m].

    Returns:
        An array shaped like one example, in its units.

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation is known not to be positive.
    """
    return _mixed(posterior_shares(z, means, stddevs), x, means)


def optimal_decoder_jacobian(
    z: Array, x: Array, means: Array, stddevs: Array | float
) -> tuple[Array, Array]:
    """The best decoder's output at a latent and its Jacobian there.

    J*(z) = sum_i w_i(z) (f*(z) - x_i) (z - mu_i)' diag(s_i^-2)   (BACK Eq. 7)

    It is minus the covariance under w of x_i and (z - mu_i) / s_i^2. With one s for all examples
    that is Cov_w(x, mu) diag(s^-2). If s^2 is also the variance of mu under w, as for evenly
    spread codes, it is the slope of a linear regression of x on mu around z.

    Args:
        z: a latent, [m].
        x: examples, [N, ...], each with n elements.
        means: posterior means mu_i, [N, m].
        stddevs: posterior standard deviations s_i, positive; a scalar, [m] or [N, m].

    Returns:
        (f*(z), shaped like one example, and J* [n, m]), as `decoder_jacobian` returns them.

    Raises:
        ArgumentError: if the shapes do not fit, or a deviation is known not to be positive.
    """
    shares = posterior_shares(z, means, stddevs)
    center = _mixed(shares, x, means)
    return center, jacobian_part(z, center, shares, x, means, stddevs)


def jacobian_part(
    z: Array, center: Array, shares: Array, x: Array, means: Array, stddevs: Array | float
) -> Array:
    """Returns the part of J*(z) that some examples contribute: BACK Eq. 7, summed over them.

    Args:
        z: a latent, [m].
        center: f*(z) for all examples, shaped like one example.
        shares: w_i(z) of these examples, [N].
        x: these examples, [N, ...].
        means: their posterior means, [N, m].
        stddevs: their posterior standard deviations, a scalar, [m] or [N, m].

    Returns:
        Shape [n, m].
    """
    z, means, stddevs = _checked(z, means, stddevs)
    residuals = wide(center).reshape(1, -1) - _rows(x, means)
    slopes = shares[:, None] * (z[None, :] - means) / jnp.square(stddevs)
    return matmul(residuals.T, slopes)


def _mixed(shares: Array, x: Array, means: Array) -> Array:
    """The mean of the examples weighted by shares [N], shaped like one example."""
    return matmul(shares, _rows(x, means)).reshape(x.shape[1:])


def _rows(x: Array, means: Array) -> Array:
    """The examples as [N, n], in at least 32 bits."""
    check_one_for_each("x", x, "means", means)
    return wide(x).reshape(x.shape[0], -1)


def _checked(z: Array, means: Array, stddevs: Array | float) -> tuple[Array, Array, Array]:
    """Checks all three and makes z [m] and the others [N, m], in at least 32 bits."""
    check_vector("z", z)
    check_batch("means", means, "[N, m]")
    check_positive("stddevs", stddevs)
    z, means, stddevs = map(jnp.asarray, wide((z, means, stddevs)))
    if means.shape[1] != z.shape[0]:
        raise ArgumentError(
            f"means must have shape [N, {z.shape[0]}], as z has, got shape {means.shape}"
        )
    if stddevs.shape not in ((), z.shape, means.shape):
        raise ArgumentError(
            f"stddevs must be a scalar or have shape {z.shape} or {means.shape},"
            f" got shape {stddevs.shape}"
        )
    if stddevs.ndim < 2:
        stddevs = jnp.broadcast_to(stddevs, z.shape)[None, :]
    return z, means, jnp.broadcast_to(stddevs, means.shape)
