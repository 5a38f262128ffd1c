"""Gaussian densities: the model's prior, the best prior for its posteriors, and a fitted one."""

from __future__ import annotations

import dataclasses

import ml_collections
import numpy as np

from sfvae_jax.evaluation.generation.densities.codes import (
    check_codes,
    codes_to_fit,
    means_and_variances,
)
from sfvae_jax.evaluation.generation.densities.spec import DensitySpec
from sfvae_jax.evaluation.trained_model import TrainedModel, latent_size, split_examples


@dataclasses.dataclass(frozen=True)
class GaussianDensity:
    """N(mean, covariance); the covariance may be singular.

    Attributes:
        mean: the mean, [m].
        covariance: the covariance, [m, m].
    """

    mean: np.ndarray
    covariance: np.ndarray

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Returns n samples [n, m], which do not vary in directions without variance."""
        values, vectors = np.linalg.eigh(self.covariance)
        factor = vectors * np.sqrt(np.maximum(values, 0.0))
        return self.mean + rng.standard_normal((n, len(self.mean))) @ factor.T


def standard_prior(stddev: np.ndarray | float, latent_size: int) -> GaussianDensity:
    """Returns N(0, diag(stddev^2)), the prior of the model's training; stddev a scalar or [m]."""
    variance = np.broadcast_to(np.square(np.asarray(stddev, np.float64)), (latent_size,))
    return GaussianDensity(np.zeros(latent_size), np.diag(variance))


def optimal_prior(means: np.ndarray, variances: np.ndarray) -> GaussianDensity:
    """Returns N(0, S^2), S^2 = mean over the images of (Sigma + mu^2), diagonal   (BACK Eq. 4).

    Among all N(0, S^2) with diagonal S it has the largest mean ELBO for these posteriors.

    Args:
        means: mu of each image's posterior, [N, m].
        variances: the diagonal of each Sigma, [N, m] or [m].

    Raises:
        ValueError: if there are no codes.
    """
    means = check_codes(means)
    second = np.mean(np.square(means) + np.asarray(variances, np.float64), axis=0)
    return GaussianDensity(np.zeros(means.shape[1]), np.diag(second))


def fit_gaussian(codes: np.ndarray) -> GaussianDensity:
    """Fits a full-covariance Gaussian: the codes' mean and unbiased covariance   (RAE Section 4).

    Args:
        codes: codes [N, m], N >= 2.

    Raises:
        ValueError: if there are fewer than two, or they are not of rank 2.
    """
    codes = check_codes(codes, 2)
    covariance = np.cov(codes, rowvar=False).reshape(2 * codes.shape[1:])
    return GaussianDensity(codes.mean(axis=0), covariance)


def _prior(trained: TrainedModel, seed: int) -> GaussianDensity:
    del seed
    return standard_prior(trained.prior(), latent_size(trained))


def _optimal_prior(trained: TrainedModel, seed: int) -> GaussianDensity:
    del seed
    return optimal_prior(*means_and_variances(trained, split_examples(trained, "train")))


def _gaussian(trained: TrainedModel, seed: int) -> GaussianDensity:
    del seed
    return fit_gaussian(codes_to_fit(trained, "gaussian", 2))


def _of_codes(
    codes: np.ndarray, options: ml_collections.ConfigDict, rng: np.random.Generator
) -> GaussianDensity:
    del options, rng
    return fit_gaussian(codes)


PRIOR = DensitySpec(_prior, "the prior that the model was trained with", stream=1, splits=())
OPTIMAL_PRIOR = DensitySpec(
    _optimal_prior,
    "N(0, S^2), S^2 the mean of posterior variance and squared mean, diagonal (BACK Eq. 4)",
    stream=2,
)
GAUSSIAN = DensitySpec(
    _gaussian,
    "a full-covariance Gaussian fitted to the training codes",
    stream=3,
    of_codes=_of_codes,
)
