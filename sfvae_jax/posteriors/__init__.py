"""Posteriors q(z|x): pytrees of arrays with their samples, densities and divergences."""

from sfvae_jax.posteriors.diagonal import DiagonalGaussian

__all__ = ["DiagonalGaussian"]
