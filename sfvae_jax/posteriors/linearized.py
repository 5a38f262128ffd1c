"""The Gaussian posterior that the decoder's tangent at the code implies   (BACK Eq. 12).

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder". Its m and n are
swapped here: m is the latent size and n the data size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.analysis.posterior_gap import posterior_precision
from sfvae_jax.objectives.numerics.checks import check_has
from sfvae_jax.objectives.numerics.gaussian import prior_deviations
from sfvae_jax.objectives.numerics.linear_algebra import inverse_factor, matmul
from sfvae_jax.objectives.numerics.precision import rounded_like, wide
from sfvae_jax.objectives.numerics.tangents import push_basis
from sfvae_jax.objectives.spec import InformationLikelihood, fixed_variance
from sfvae_jax.posteriors.full_covariance import FullCovarianceGaussian
from sfvae_jax.posteriors.point import Point
from sfvae_jax.posteriors.protocol import Code
from sfvae_jax.posteriors.spec import Declare, PosteriorSpec, Settings


def linearized_posterior(
    decode: Callable[[Array], Any],
    x: Array,
    mean: Array,
    likelihood: InformationLikelihood,
    *,
    prior_stddev: Array | float = 1.0,
) -> FullCovarianceGaussian:
    """The Gaussian around a code whose covariance is that of the decoder's tangent.

        q(z|x) = N(mu, Sigma),   Sigma = (S^-2 + G)^-1,   S = diag(prior_stddev)
        G_ij = t_i' F t_j,   for a Gaussian with variance c: G = J' diag(1/c) J

    (BACK Eq. 12 for c = 1.) t_i = d theta / d z_i are the tangents of the decoder's output theta at
    mu, and F is the likelihood's `information`, minus the second derivative of log p(x|theta). The
    linearised ELBO depends on Sigma through 1/2 [log det Sigma - tr((S^-2 + G) Sigma)], which this
    Sigma maximises: its gradient there is 1/2 [Sigma^-1 - S^-2 - G] = 0. So it is the best
    covariance for `linearized_elbo`, which then equals `log_evidence`, and for `second_order_elbo`.
    For a linear decoder with a Gaussian likelihood and the exact mean it is the true posterior.

    It is a distribution like any other: an ELBO that is estimated from its samples is a lower bound
    of log p(x) for every decoder. Nothing of it is learned but mu; Sigma follows the decoder, and
    gradients go through J.

    Args:
        decode: maps one latent [m] to the likelihood's parameters, a pytree.
        x: one example.
        mean: the code mu, [m].
        likelihood: p(x|z), with `information(x, parameters, tangent)`, which is t' F t and never
            negative; for example `likelihoods.Gaussian`.
        prior_stddev: prior standard deviations, positive, a scalar or [m].

    Returns:
        A Gaussian with the mean mu and a lower triangular factor L [m, m] of Sigma = L L'. It takes
        1 decoder pass and m tangents.

    Raises:
        ArgumentError: if the shapes do not fit, a deviation is known not to be positive, or the
            likelihood has no `information`.
    """
    check_has("likelihood", likelihood, "information", "likelihoods.Gaussian(variance)")
    precision = _precision(decode, x, mean, likelihood, prior_stddev)
    return FullCovarianceGaussian(mean, rounded_like(inverse_factor(precision), mean))


def _precision(
    decode: Callable[[Array], Any],
    x: Array,
    mean: Array,
    likelihood: InformationLikelihood,
    prior_stddev: Array | float,
) -> Array:
    """S^-2 + G, [m, m]."""
    variance = fixed_variance(likelihood)
    if variance is not None:  # a Gaussian: DenseOutput has a short form
        scales = {"observation_variance": variance, "prior_stddev": prior_stddev}
        return posterior_precision(decode, mean, **scales)
    prior_precision = 1.0 / jnp.square(prior_deviations(mean, prior_stddev))
    parameters, rows = push_basis(decode, mean, "mean")
    rows = wide(rows)

    def half_form(tangent: Any) -> Array:
        return 0.5 * likelihood.information(x, parameters, tangent)

    # The gradient of t' F t / 2 is F t.
    pushed = jax.vmap(jax.grad(half_form))(rows)
    return jnp.diag(prior_precision) + sum(
        matmul(own.reshape(len(own), -1), other.reshape(len(other), -1).T)
        for own, other in zip(jax.tree.leaves(rows), jax.tree.leaves(pushed), strict=True)
    )


def _build(settings: Settings, raw: Array, declare: Declare) -> Point:
    del declare
    return Point(raw[: settings.latent_size])


def _of_decoder(
    code: Code, decode: Callable[[Array], Any], x: Array, likelihood: Any
) -> FullCovarianceGaussian:
    return linearized_posterior(decode, x, code.mean, likelihood)


LINEARIZED = PosteriorSpec(
    name="linearized",
    summary="the Gaussian that the decoder's tangent at the code implies, with no variance learned",
    num_outputs=lambda settings: settings.latent_size,
    build=_build,
    of_decoder=_of_decoder,
    requires_information=True,
    closed_form_kl=True,
    gaussian=True,
)
