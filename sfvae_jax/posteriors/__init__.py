"""Posteriors q(z|x): pytrees of arrays with their samples, densities and divergences.

`sample_and_log_prob(rng)` returns a reparameterised z and log q(z|x). `sample_and_path_log_prob`
returns the same values with the density's parameters held fixed, which the objective
`sticking_the_landing` requires. Gaussian posteriors also have closed forms: `expected_log_prior`,
`entropy` and `kl_to_prior`. `linearized_posterior` makes one from a decoder. `POSTERIORS` lists
what each family requires and offers.
"""

from sfvae_jax.posteriors.diagonal import DiagonalGaussian
from sfvae_jax.posteriors.flows.auxiliary import (
    AUXILIARY_STARTS,
    AuxiliaryFlow,
    init_auxiliary_flow,
)
from sfvae_jax.posteriors.flows.inverse_autoregressive import InverseAutoregressiveFlow, init_iaf
from sfvae_jax.posteriors.flows.planar import PlanarFlow, init_planar
from sfvae_jax.posteriors.full_covariance import FullCovarianceGaussian
from sfvae_jax.posteriors.linearized import linearized_posterior
from sfvae_jax.posteriors.point import Point
from sfvae_jax.posteriors.protocol import Code, GaussianPosterior, Posterior
from sfvae_jax.posteriors.spec import STDDEVS, PosteriorSpec
from sfvae_jax.posteriors.table import POSTERIORS

__all__ = [
    "AUXILIARY_STARTS",
    "POSTERIORS",
    "STDDEVS",
    "AuxiliaryFlow",
    "Code",
    "DiagonalGaussian",
    "FullCovarianceGaussian",
    "GaussianPosterior",
    "InverseAutoregressiveFlow",
    "PlanarFlow",
    "Point",
    "Posterior",
    "PosteriorSpec",
    "init_auxiliary_flow",
    "init_iaf",
    "init_planar",
    "linearized_posterior",
]
