"""A Gaussian posterior N(mean, L L') as the linearised objectives use it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.numerics.checks import ArgumentError, check_has, check_vector, has_mean
from sfvae_jax.objectives.numerics.gaussian import (
    gaussian_entropy,
    gaussian_expected_log_prior,
    gaussian_kl_per_dimension,
    latent_gaussian,
    prior_deviations,
)
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.objectives.spec import GaussianPosterior

_EXAMPLE = "posteriors.FullCovarianceGaussian(mean, scale_tril)"


@dataclasses.dataclass(frozen=True, eq=False)
class Latents:
    """A Gaussian posterior with its divergence from the prior; its covariance is D' diag(s^2) D.

    Attributes:
        mean: [m], in the dtype in which it was given.
        directions: D, the columns of L as rows, [m, m]; None for the identity, if the dimensions
            are independent.
        scale: s, [m]: the standard deviations of independent dimensions, else 1.
        elbo: maps an expected log likelihood in nats, a scalar, to the ELBO. Its other parts are
            only computed then: gradients add up in the order of the computation, and runs with a
            seed keep their last digit.
    """

    mean: Array
    directions: Array | None
    scale: Array
    elbo: Callable[[Array], Elbo]

    def deviations(self, noise: Array) -> Array:
        """L e for each row e of noise [k, m]; shape [k, m]."""
        scaled = self.scale[None, :] * noise
        return scaled if self.directions is None else matmul(scaled, self.directions)


def latents(
    mean: Array | GaussianPosterior,
    stddev: Array | float | None,
    prior_stddev: Array | float = 1.0,
) -> Latents:
    """Checks a Gaussian posterior and its prior, and returns what the objectives need of them.

    Args:
        mean: [m]; or a Gaussian posterior, which has both moments.
        stddev: positive, a scalar or [m]; None if a posterior is given.
        prior_stddev: positive, a scalar or [m].

    Raises:
        ArgumentError: if the shapes do not fit, a deviation is known not to be positive, stddev is
            missing or given twice, or the posterior is no Gaussian.
    """
    posterior: Any = mean
    if not has_mean(posterior):
        if stddev is None:
            raise ArgumentError(
                f"stddev must be given beside a mean; or give one argument, {_EXAMPLE}"
            )
        return _independent(posterior, stddev, prior_stddev)
    if stddev is not None:
        raise ArgumentError(
            f"stddev must be left out beside a {type(mean).__name__}, which has its own deviations"
        )
    if hasattr(posterior, "kl_per_dimension"):
        return _independent(posterior.mean, posterior.stddev, prior_stddev)
    check_has("posterior", posterior, "deviation", _EXAMPLE)
    check_vector("mean", posterior.mean)
    prior_stddev = prior_deviations(posterior.mean, prior_stddev)
    identity = jnp.eye(posterior.mean.shape[0], dtype=posterior.mean.dtype)
    directions = jax.vmap(posterior.deviation)(identity)
    return Latents(
        mean=posterior.mean,
        directions=directions,
        scale=jnp.ones_like(directions[0]),
        elbo=lambda log_likelihood: Elbo(
            log_likelihood, posterior.expected_log_prior(prior_stddev), posterior.entropy()
        ),
    )


def _independent(mean: Array, stddev: Array | float, prior_stddev: Array | float) -> Latents:
    check_vector("mean", mean)
    center, deviations, prior_stddev = latent_gaussian(mean, stddev, prior_stddev)

    def elbo(log_likelihood: Array) -> Elbo:
        return Elbo(
            log_likelihood,
            log_prior=gaussian_expected_log_prior(center, deviations, prior_stddev),
            entropy=gaussian_entropy(deviations),
            kl_per_dimension=gaussian_kl_per_dimension(center, deviations, prior_stddev),
        )

    return Latents(mean, None, deviations, elbo)
