"""Reconstruction errors at the posterior's center and at samples of the posterior."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import COUNT, Option

OPTIONS = {"num_samples": Option(1, COUNT, "Number of samples of the posterior of each image")}


def squared_errors(trained: TrainedModel, num_samples: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns |E[x|z] - x|^2 of every image, summed over its pixels, in squared units of these.

    Args:
        trained: the model and the images.
        num_samples: how many z ~ q(z|x) are drawn for each image.

    Returns:
        (errors, mean_errors), each [N]: at the posterior's `center()`, which is the mean of a
        Gaussian, and in the mean over the samples; None for a posterior without samples.
    """

    def errors(params: Any, x: Array, key: Array) -> tuple[Array, Array | None]:
        posterior = trained.encode(params, x)

        def error(z: Array) -> Array:
            return jnp.sum(jnp.square(trained.reconstruct(params, z) - x))

        if not hasattr(posterior, "sample_and_log_prob"):
            return error(posterior.center()), None
        keys = jax.random.split(key, num_samples)
        draws = jax.vmap(lambda key: error(posterior.sample_and_log_prob(key)[0]))(keys)
        return error(posterior.center()), jnp.mean(draws)

    return trained.map_images(errors, key=("squared errors", num_samples))


def reconstructions(trained: TrainedModel, num_images: int) -> dict[str, np.ndarray]:
    """Returns reconstructions of the first images, "at the code" and "at a sample".

    Each is [num_images, ...]. A posterior without samples has no "at a sample".
    """

    def both(params: Any, x: Array, key: Array) -> dict[str, Array]:
        posterior = trained.encode(params, x)
        rows = {"at the code": trained.reconstruct(params, posterior.center())}
        if hasattr(posterior, "sample_and_log_prob"):
            sample, _ = posterior.sample_and_log_prob(key)
            rows["at a sample"] = trained.reconstruct(params, sample)
        return rows

    return trained.map_images(both, trained.images[:num_images], key="reconstructions")


def evaluate_reconstruction(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measures of `reconstruction`, means over the images."""
    at_mean, at_sample = squared_errors(trained, options.num_samples)
    sampled = NotApplicable("a deterministic model has no posterior to sample from")
    return {
        "reconstruction_error": float(np.mean(at_mean, dtype=np.float64)),
        "reconstruction_error_at_sample": sampled
        if at_sample is None
        else float(np.mean(at_sample, dtype=np.float64)),
    }


EVALUATION = Evaluation(
    evaluate_reconstruction,
    (
        Measure("reconstruction_error", better="less"),
        Measure("reconstruction_error_at_sample", better="less"),
    ),
    OPTIONS,
    summary="squared error per image, at the posterior's center and at `num_samples` samples of it",
)
