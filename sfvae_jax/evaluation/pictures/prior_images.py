"""Images decoded from a model's prior: random samples, and a grid of a latent plane."""

from __future__ import annotations

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np

from sfvae_jax.evaluation.noise import Stream
from sfvae_jax.evaluation.pictures.latent_codes import encoded
from sfvae_jax.evaluation.trained_model import TrainedModel, decode_means
from sfvae_jax.objectives.numerics.streams import stream_key


def prior_samples(trained: TrainedModel, latent_size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Returns means of p(x|z) for z ~ N(0, diag(prior_stddev^2)), [*shape, ...]."""
    noise = jax.random.normal(stream_key(trained.rng, Stream.PRIOR_SAMPLES), (*shape, latent_size))
    prior_stddev = jnp.broadcast_to(jnp.asarray(trained.prior(), noise.dtype), (latent_size,))
    codes = noise * prior_stddev.reshape((1,) * len(shape) + (-1,))
    return decode_means(trained, np.asarray(codes))


def manifold(trained: TrainedModel, side: int = 20, limit: float = 0.0) -> np.ndarray:
    """Returns means of p(x|z) on a grid of the latent plane, [side, side, ...].

    The rows run from the largest second latent down. For a model without a prior the grid is that
    of a normal distribution fitted to its codes.

    Args:
        trained: a model with two latents.
        side: number of points in each direction.
        limit: spaces the points evenly from -limit to limit standard deviations of the prior (SFVAE
            Figure 2); 0 spaces them by equal prior mass (BACK Figures 12 to 15).
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)]
    if limit:
        quantiles = list(np.linspace(-limit, limit, side))
    grid = np.stack(np.meshgrid(quantiles, quantiles[::-1]), axis=-1)
    if trained.prior_stddev is not None:
        return decode_means(trained, grid * np.broadcast_to(trained.prior_stddev, (2,)))
    means = encoded(trained).means
    return decode_means(trained, means.mean(axis=0) + grid * means.std(axis=0))
