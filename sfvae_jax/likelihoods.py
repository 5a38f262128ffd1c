"""Likelihoods p(x|z): what a decoder's output means as a distribution of the data."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.gaussian import gaussian_log_prob


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gaussian:
    """p(x|z) = N(x; parameters, diag(variance)), the variance fixed   (SFVAE Eq. 2).

    Attributes:
        variance: positive, a scalar or shaped like x.
    """

    variance: Array | float

    def log_prob(self, x: Array, parameters: Array) -> Array:
        """log p(x|z) in nats, summed over x; `parameters` is the mean, shaped like x."""
        return gaussian_log_prob(x, parameters, self.variance)

    def mean(self, parameters: Array) -> Array:
        """E[x|z], shaped like x."""
        return parameters

    def sample(self, rng: Array, parameters: Array) -> Array:
        """A draw of x, shaped like x."""
        noise = jax.random.normal(rng, parameters.shape, parameters.dtype)
        return parameters + jnp.sqrt(jnp.broadcast_to(self.variance, parameters.shape)) * noise

    def fisher(self, parameters: Array) -> Array:
        """Diagonal Fisher information of the mean, 1 / variance, shaped like x."""
        return 1.0 / jnp.broadcast_to(self.variance, parameters.shape)
