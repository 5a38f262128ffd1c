"""Images and codes that a trained model is looked at by: prior samples, the latent plane."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.evaluation.trained_model import TrainedModel, decode_means, once
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
    means = encoded(trained).means
    return decode_means(trained, means.mean(axis=0) + grid * means.std(axis=0))


class Encoded(NamedTuple):
    """What the encoder gives for N images; NumPy arrays.

    Attributes:
        means: the posteriors' centers, [N, m].
        variances: of diagonal Gaussians, [N, m], else None.
        samples: one of each posterior, [N, m]; None of points.
    """

    means: np.ndarray
    variances: np.ndarray | None
    samples: np.ndarray | None

    @property
    def are_varied(self) -> bool:
        """Whether a variance differs between the images."""
        if self.variances is None:
            return False
        return bool(np.any(np.ptp(self.variances, axis=0) > 1e-6 * np.max(self.variances, axis=0)))


def encoded(trained: TrainedModel) -> Encoded:
    """Centers, variances and a sample of the posterior of every image."""

    def encode(params: Any, x: Array, key: Array) -> Encoded:
        posterior = trained.encode(params, x)
        center = posterior.center()
        variances = samples = None
        if isinstance(posterior, DiagonalGaussian):
            variances = jnp.broadcast_to(jnp.square(posterior.stddev), center.shape)
        if hasattr(posterior, "sample_and_log_prob"):
            samples, _ = posterior.sample_and_log_prob(key)
        return Encoded(center, variances, samples)

    return once(trained, "encoded", lambda: trained.map_images(encode, key="encoded"))
