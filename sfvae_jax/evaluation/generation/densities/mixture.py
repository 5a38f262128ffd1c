"""A mixture of Gaussians that is fitted to the codes (RAE Appendix C)."""

from __future__ import annotations

import dataclasses
import math
import warnings

import ml_collections
import numpy as np

from sfvae_jax.evaluation.generation.densities.codes import (
    check_codes,
    codes_to_fit,
    overall_scale,
)
from sfvae_jax.evaluation.generation.densities.spec import DensitySpec
from sfvae_jax.evaluation.threads import one_thread
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import COUNT, Option


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
        """Returns n samples [n, m]."""
        components = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        samples = self.means[components]
        for k, factor in enumerate(np.linalg.cholesky(self.covariances)):
            chosen = components == k
            samples[chosen] += noise[chosen] @ factor.T
        return samples

    def log_density(self, codes: np.ndarray) -> np.ndarray:
        """Returns the log density at codes [N, m], in nats, [N]."""
        codes = check_codes(codes)
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
    """Fits a mixture of full-covariance Gaussians by EM   (RAE Appendix C).

    EM is scikit-learn's and starts from k-means. Each variance gets 1e-6 of the codes' mean
    variance added.

    Args:
        seed: seed of the k-means.
        codes: codes [N, m], N at least the number of components.
        num_components: K, the number of Gaussians.
        max_iterations: most iterations of EM.

    Raises:
        ValueError: if there are fewer codes than components.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    codes = check_codes(codes, max(num_components, 2))
    center, scale = codes.mean(axis=0), overall_scale(codes)
    model = GaussianMixture(
        num_components, max_iter=max_iterations, reg_covar=1e-6, random_state=seed
    )
    with one_thread(), warnings.catch_warnings():  # like the paper, do not wait for convergence
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((codes - center) / scale)
    weights = model.weights_ / np.sum(model.weights_)
    return MixtureDensity(weights, center + scale * model.means_, scale**2 * model.covariances_)


def _mixture(trained: TrainedModel, seed: int) -> MixtureDensity:
    number = trained.config.generated.gmm_components
    codes = codes_to_fit(trained, "gmm", max(number, 2))
    return fit_mixture(seed, codes, num_components=number)


def _of_codes(
    codes: np.ndarray, options: ml_collections.ConfigDict, rng: np.random.Generator
) -> MixtureDensity:
    return fit_mixture(int(rng.integers(2**31)), codes, num_components=options.gmm_components)


MIXTURE = DensitySpec(
    _mixture,
    "a mixture of Gaussians fitted to the training codes by EM, at most 100 iterations",
    stream=4,
    options={"gmm_components": Option(10, COUNT, "Number of Gaussians in the mixture gmm")},
    reports_log_density=True,
    of_codes=_of_codes,
)
