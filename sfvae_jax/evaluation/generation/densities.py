"""Densities of codes: a model's prior, or one fitted to its codes after training (RAE Section 4).

Every density has `sample(rng, n)`, rng a NumPy generator: n latents [n, m] in float64. The codes
that one is fitted to are those of the aggregated posterior: of a stochastic encoder one sample of
q(z|x) for each training image, of a deterministic one its point.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Protocol

import numpy as np

from sfvae_jax.evaluation.threads import one_thread


class Density(Protocol):
    """What decodes to random images."""

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n independent latents [n, m]."""
        ...


@dataclasses.dataclass(frozen=True)
class GaussianDensity:
    """N(mean, covariance); the covariance may be singular.

    Attributes:
        mean: [m].
        covariance: [m, m].
    """

    mean: np.ndarray
    covariance: np.ndarray

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """[n, m]; directions of no variance stay without."""
        values, vectors = np.linalg.eigh(self.covariance)
        factor = vectors * np.sqrt(np.maximum(values, 0.0))
        return self.mean + rng.standard_normal((n, len(self.mean))) @ factor.T


def standard_prior(stddev: np.ndarray | float, latent_size: int) -> GaussianDensity:
    """N(0, diag(stddev^2)), the prior that a model was trained with; stddev a scalar or [m]."""
    variance = np.broadcast_to(np.square(np.asarray(stddev, np.float64)), (latent_size,))
    return GaussianDensity(np.zeros(latent_size), np.diag(variance))


def optimal_prior(means: np.ndarray, variances: np.ndarray) -> GaussianDensity:
    """N(0, S^2), S^2 = mean over the images of (Sigma + mu^2), diagonal   (BACK Eq. 4).

    Of all N(0, S^2) with diagonal S the one with the greatest mean ELBO for these posteriors.

    Args:
        means: mu of every image's posterior, [N, m].
        variances: the diagonal of its Sigma, [N, m] or [m].

    Raises:
        ValueError: if there are no codes.
    """
    means = _check_codes(means)
    second = np.mean(np.square(means) + np.asarray(variances, np.float64), axis=0)
    return GaussianDensity(np.zeros(means.shape[1]), np.diag(second))


def fit_gaussian(codes: np.ndarray) -> GaussianDensity:
    """The full-covariance Gaussian with the codes' mean and unbiased covariance   (RAE Section 4).

    Args:
        codes: [N, m], N >= 2.

    Raises:
        ValueError: if there are fewer than two, or they are not of rank 2.
    """
    codes = _check_codes(codes, 2)
    covariance = np.cov(codes, rowvar=False).reshape(2 * codes.shape[1:])
    return GaussianDensity(codes.mean(axis=0), covariance)


@dataclasses.dataclass(frozen=True)
class MixtureDensity:
    """sum_k w_k N(mu_k, C_k).

    Attributes:
        weights: w, [K].
        means: mu, [K, m].
        covariances: C, positive definite, [K, m, m].
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """[n, m]."""
        components = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        samples = self.means[components]
        for k, factor in enumerate(np.linalg.cholesky(self.covariances)):
            chosen = components == k
            samples[chosen] += noise[chosen] @ factor.T
        return samples

    def log_density(self, codes: np.ndarray) -> np.ndarray:
        """log of the density at codes [N, m], in nats, [N]."""
        codes = _check_codes(codes)
        factors = np.linalg.cholesky(self.covariances)
        log_terms = np.empty((len(self.weights), len(codes)))
        for k, factor in enumerate(factors):
            scaled = np.linalg.solve(factor, (codes - self.means[k]).T)
            log_det = np.sum(np.log(np.diagonal(factor)))
            log_terms[k] = np.log(self.weights[k]) - log_det - 0.5 * np.sum(scaled**2, axis=0)
        constant = 0.5 * codes.shape[1] * math.log(2.0 * math.pi)
        return np.logaddexp.reduce(log_terms, axis=0) - constant


def fit_mixture(
    seed: int, codes: np.ndarray, *, num_components: int = 10, max_iterations: int = 100
) -> MixtureDensity:
    """A mixture of full-covariance Gaussians by EM, at most 100 iterations   (RAE Appendix C).

    scikit-learn's, from k-means; to each variance is added 1e-6 of the codes' mean variance.

    Args:
        seed: of the k-means that EM starts from.
        codes: [N, m], N at least the number of components.
        num_components: K.
        max_iterations: of EM.

    Raises:
        ValueError: if there are fewer codes than components.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    codes = _check_codes(codes, max(num_components, 2))
    center, scale = codes.mean(axis=0), overall_scale(codes)
    model = GaussianMixture(
        num_components, max_iter=max_iterations, reg_covar=1e-6, random_state=seed
    )
    with one_thread(), warnings.catch_warnings():  # the iterations end where the paper ends them
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((codes - center) / scale)
    weights = model.weights_ / np.sum(model.weights_)
    return MixtureDensity(weights, center + scale * model.means_, scale**2 * model.covariances_)


def overall_scale(codes: np.ndarray) -> float:
    """sqrt of the mean variance of the codes' dimensions, or 1 where they do not vary."""
    return float(np.sqrt(np.mean(np.var(codes, axis=0)))) or 1.0


def _check_codes(codes: np.ndarray, least: int = 1) -> np.ndarray:
    codes = np.asarray(codes, np.float64)
    if codes.ndim != 2 or len(codes) < least:
        raise ValueError(f"need {least} or more codes [N, m], got shape {codes.shape}")
    return codes
