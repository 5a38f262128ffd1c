"""Posteriors q(z|x): pytrees of arrays with their samples, densities and divergences.

`sample_and_log_prob(rng)` gives a reparameterised z and log q(z|x); `sample_and_path_log_prob(rng)`
the same values with the density's parameters held fixed, for sticking the landing. The Gaussian
ones have closed forms too: `expected_log_prior`, `entropy` and `kl_to_prior`.
"""

from sfvae_jax.posteriors.auxiliary import (
    AUXILIARY_STARTS,
    AuxiliaryFlow,
    init_auxiliary_flow,
)
from sfvae_jax.posteriors.diagonal import DiagonalGaussian
from sfvae_jax.posteriors.full_covariance import FullCovarianceGaussian
from sfvae_jax.posteriors.inverse_autoregressive import InverseAutoregressiveFlow, init_iaf
from sfvae_jax.posteriors.planar import PlanarFlow, init_planar
from sfvae_jax.posteriors.point import Point
from sfvae_jax.posteriors.traits import POSTERIORS

__all__ = [
    "AUXILIARY_STARTS",
    "POSTERIORS",
    "AuxiliaryFlow",
    "DiagonalGaussian",
    "FullCovarianceGaussian",
    "InverseAutoregressiveFlow",
    "PlanarFlow",
    "Point",
    "init_auxiliary_flow",
    "init_iaf",
    "init_planar",
]
