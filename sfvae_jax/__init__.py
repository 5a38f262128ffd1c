"""sfvae_jax: autoencoding generative models trained without sampling, in JAX."""

from sfvae_jax import likelihoods, objectives, posteriors

__all__ = ["likelihoods", "objectives", "posteriors"]
__version__ = "0.1.0"
