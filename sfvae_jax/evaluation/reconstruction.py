"""Reconstruction error, at the posterior mean and at samples of the posterior."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.evaluation.codes import TrainedModel


def squared_errors(trained: TrainedModel, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """|f(z) - x|^2 summed over the pixels of every image, in squared units of [0, 1] pixels.

    Args:
        trained: model and images.
        num_samples: draws of z ~ q(z|x) for each image.

    Returns:
        (at the mean z = E q(z|x), [N]; mean over the draws, [N]).
    """

    def errors(params: Any, x: Array, key: Array) -> tuple[Array, Array]:
        posterior = trained.encode(params, x)

        def error(z: Array) -> Array:
            return jnp.sum(jnp.square(trained.decode(params, z) - x))

        def error_at_sample(key: Array) -> Array:
            return error(posterior.sample_and_log_prob(key)[0])

        keys = jax.random.split(key, num_samples)
        return error(posterior.mean), jnp.mean(jax.vmap(error_at_sample)(keys))

    return trained.map_images(errors)


def reconstructions(trained: TrainedModel, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images' reconstructions at the mean and at one sample, [num_images, ...] each."""

    def both(params: Any, x: Array, key: Array) -> tuple[Array, Array]:
        posterior = trained.encode(params, x)
        sample, _ = posterior.sample_and_log_prob(key)
        return trained.decode(params, posterior.mean), trained.decode(params, sample)

    return trained.map_images(both, trained.images[:num_images])


def evaluate_reconstruction(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> dict[str, float]:
    """The evaluation `reconstruction`: mean over the images of both errors."""
    at_mean, at_sample = squared_errors(trained, options.num_samples)
    return {
        "reconstruction_error": float(np.mean(at_mean, dtype=np.float64)),
        "reconstruction_error_at_sample": float(np.mean(at_sample, dtype=np.float64)),
    }
