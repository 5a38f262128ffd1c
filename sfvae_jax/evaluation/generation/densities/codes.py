"""The codes of a trained model's images, which densities are fitted to (RAE Section 4).

They are those of the aggregated posterior: for a stochastic encoder one sample of q(z|x) for each
image, for a deterministic one its code.
"""

from __future__ import annotations

import logging
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    finite,
    once_per_checkpoint,
    split_examples,
)
from sfvae_jax.posteriors import DiagonalGaussian, FullCovarianceGaussian

log = logging.getLogger("sfvae_jax")


def aggregated_codes(trained: TrainedModel, images: np.ndarray) -> np.ndarray:
    """Returns codes of the aggregated posterior, [N, m]: one for each stored image."""

    def code(params: Any, x: Array, key: Array) -> Array:
        posterior = trained.encode(params, x)
        if hasattr(posterior, "sample_and_log_prob"):
            return posterior.sample_and_log_prob(key)[0]
        return posterior.center()

    return finite(trained.map_images(code, images, key="aggregated codes"))


@once_per_checkpoint
def training_codes(trained: TrainedModel) -> np.ndarray:
    """Returns `aggregated_codes` of the training images, computed once for a model."""
    return aggregated_codes(trained, split_examples(trained, "train"))


def codes_to_fit(trained: TrainedModel, name: str, least: int) -> np.ndarray:
    """Returns the training codes for a density, and logs that it is being fitted.

    Args:
        trained: the model.
        name: the density's name in a config.
        least: the number of codes that it needs.

    Raises:
        NotApplicable: if there are fewer codes.
    """
    codes = training_codes(trained)
    if len(codes) < least:
        raise NotApplicable(f"{name} needs at least {least} training images, got {len(codes)}")
    log.info("fitting the density %s to %d codes of %d dimensions", name, *codes.shape)
    return codes


def means_and_variances(trained: TrainedModel, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns means and variances of the posteriors of stored images, [N, m] each.

    Raises:
        NotApplicable: if the posterior is no Gaussian.
    """

    def moments(params: Any, x: Array, key: Array) -> tuple[Array, Array]:
        del key
        posterior = trained.encode(params, x)
        if isinstance(posterior, DiagonalGaussian):
            return posterior.mean, jnp.square(posterior.stddev)
        if isinstance(posterior, FullCovarianceGaussian):
            return posterior.mean, jnp.sum(jnp.square(jnp.tril(posterior.scale_tril)), axis=1)
        raise NotApplicable(
            f"the variance of a {type(posterior).__name__} posterior has no closed form"
        )

    means, variances = trained.map_images(moments, images, key="moments")
    return finite(means), finite(variances)


def overall_scale(codes: np.ndarray) -> float:
    """Returns the square root of the codes' mean variance, or 1 if they do not vary."""
    return float(np.sqrt(np.mean(np.var(codes, axis=0)))) or 1.0


def check_codes(codes: np.ndarray, least: int = 1) -> np.ndarray:
    """Returns codes [N, m] in float64.

    Raises:
        ValueError: if they have another shape, or there are fewer than `least`.
    """
    codes = np.asarray(codes, np.float64)
    if codes.ndim != 2 or len(codes) < least:
        raise ValueError(f"expected at least {least} codes [N, m], got shape {codes.shape}")
    return codes
