"""Images and codes that a trained model is looked at by: prior samples, the latent plane."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.evaluation.codes import TrainedModel, decode_means
from sfvae_jax.posteriors import DiagonalGaussian


def prior_samples(trained: TrainedModel, latent_size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Means of p(x|z) for z ~ N(0, diag(prior_stddev^2)), [*shape, ...]."""
    noise = jax.random.normal(jax.random.fold_in(trained.rng, 2**31 - 1), (*shape, latent_size))
    prior_stddev = jnp.broadcast_to(jnp.asarray(trained.prior(), noise.dtype), (latent_size,))
    return decode_means(trained, noise * prior_stddev.reshape((1,) * len(shape) + (-1,)))


def manifold(trained: TrainedModel, side: int = 20, limit: float = 0.0) -> np.ndarray:
    """Means of p(x|z) on a grid of a latent plane, [side, side, ...].

    Row by row from the largest second latent down; a model without a prior is shown on the normal
    that its codes fit.

    Args:
        trained: a model of two latents.
        side: points in each direction.
        limit: evenly from -limit to limit standard deviations of the prior (SFVAE Figure 2);
            0: points of equal prior mass (BACK Figures 12 to 15).
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)]
    if limit:
        quantiles = list(np.linspace(-limit, limit, side))
    grid = np.stack(np.meshgrid(quantiles, quantiles[::-1]), axis=-1)
    if trained.prior_stddev is not None:
        return decode_means(trained, grid * np.broadcast_to(trained.prior_stddev, (2,)))
    means, _ = latent_plane(trained)
    return decode_means(trained, means.mean(axis=0) + grid * means.std(axis=0))


def latent_plane(trained: TrainedModel) -> tuple[np.ndarray, np.ndarray | None]:
    """Posterior centers [N, m] and, of a diagonal posterior, variances [N, m], else None."""

    def code(params: Any, x: Array, key: Array) -> tuple[Array, Array | None]:
        posterior = trained.encode(params, x)
        variance = jnp.square(posterior.stddev) if isinstance(posterior, DiagonalGaussian) else None
        return posterior.center(), variance

    return trained.map_images(code, key="latent plane")
