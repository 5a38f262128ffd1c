"""How nearly a trained model meets the conditions of a stationary point of the ELBO (BACK 4.1).

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder".
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.evaluation.linearization.constant_variance import image_precision
from sfvae_jax.evaluation.linearization.posterior import at_least_the_prior, inverse_factor
from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure, with_errors
from sfvae_jax.evaluation.standard_errors import means_with_errors, relative
from sfvae_jax.evaluation.trained_model import TrainedModel, finite, latent_prior
from sfvae_jax.objectives import gaussian_log_prob
from sfvae_jax.options import COUNT_OR_0, Option
from sfvae_jax.posteriors import DiagonalGaussian, FullCovarianceGaussian, Point

OPTIONS = {
    "num_images": Option(1000, COUNT_OR_0, "Number of images to measure, from the first; 0 = all")
}


class AtCodes(NamedTuple):
    """The quantities in the conditions, at every image's code; NumPy arrays.

    Attributes:
        code: mu, the posterior's center, [N, m].
        factor: lower triangular with Sigma = factor factor', [N, m, m]; None for a point.
        score: d/dz log p(x|z) at mu, [N, m]; for a Gaussian J' diag(1/c) (x - f(mu)).
        precision: P = S^-2 + J' F J, [N, m, m].
        log_joint: log p(x|mu) + log N(mu; 0, S^2), [N].
    """

    code: np.ndarray
    factor: np.ndarray | None
    score: np.ndarray
    precision: np.ndarray
    log_joint: np.ndarray


def evaluate_stationarity(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measures of `stationarity` on the first `num_images` images.

    With mu and Sigma the posterior's, S the prior's deviations, g = d/dz log p(x|z) at mu and
    P = S^-2 + J' F J there (F the likelihood's Fisher information):

        residual_distance         sum_i |mu_i - S^2 g_i|^2_S / sum_i |mu_i|^2_S, |v|_S = |S^-1 v|;
                                  0 where mu = S^2 g for every image (BACK Eq. 11)
        posterior_mean_gap        1/2 h' P^-1 h, h = g - S^-2 mu: what log p(x, z) gains by a
                                  Gauss-Newton step towards Eq. 11
        posterior_covariance_gap  KL(N(mu, Sigma) || N(mu, P^-1)), 0 where Sigma is P^-1
                                  (BACK Eqs. 12 and 18)
        diagonal_covariance_gap   how much of it another diagonal Sigma would close, 0 where
                                  Sigma_ii is 1 / P_ii; the rest is the latents' correlation
        linearized_log_evidence   log p(x, mu) + m/2 log 2 pi - 1/2 log det P (BACK Eqs. 16, 26)

    The last four are means over the images in nats. The mean gap plus the covariance gap is the KL
    divergence of the posterior from that of the decoder's tangent, N(mu + P^-1 h, P^-1), and the
    log evidence less the covariance gap is the linearised ELBO (BACK Eq. 17). A decoder that curves
    within a posterior meets these conditions at other codes, which the measures do not see: all of
    them take the tangent in the decoder's place.

    Raises:
        NotApplicable: if the model has no bound, or a posterior other than a Gaussian or a point.
        RunError: if a quantity in the conditions is not finite.
    """
    found = at_codes(trained, trained.images[: options.num_images or None])
    prior = np.asarray(latent_prior(trained), np.float64)
    precision = at_least_the_prior(found.precision.astype(np.float64), prior)
    inverse = inverse_factor(precision)
    step = np.einsum("nji,nj->ni", inverse, found.score - found.code / prior**2)
    log_det = -2.0 * np.sum(np.log(np.diagonal(inverse, axis1=1, axis2=2)), axis=1)
    size = found.code.shape[1]
    values = {
        "linearized_log_evidence": found.log_joint
        + 0.5 * size * math.log(2.0 * math.pi)
        - 0.5 * log_det,
        "posterior_mean_gap": 0.5 * np.sum(np.square(step), axis=1),
        **_covariance_gaps(found.factor, precision, log_det),
    }
    return {**_residual_distance(found, prior), **means_with_errors(values)}


def at_codes(trained: TrainedModel, images: np.ndarray) -> AtCodes:
    """Returns the quantities in the conditions at every image's code, in float64.

    Args:
        trained: the model.
        images: stored images [N, ...].

    Raises:
        NotApplicable: if the model has no bound, or a posterior other than a Gaussian or a point.
        RunError: if a quantity is not finite.
    """
    prior_stddev = latent_prior(trained)
    precision = image_precision(trained)

    def quantities(params: Any, x: Array, key: Array) -> AtCodes:
        posterior = trained.encode(params, x)
        code = posterior.center()

        def log_likelihood(z: Array) -> Array:
            return trained.likelihood.log_prob(x, trained.decode(params, z))

        value, score = jax.value_and_grad(log_likelihood)(code)
        return AtCodes(
            code=code,
            factor=_factor(posterior),
            score=score,
            precision=precision(params, x, key),
            log_joint=value + gaussian_log_prob(code, jnp.zeros_like(code), prior_stddev**2),
        )

    found = trained.map_images(quantities, images, key="stationarity")
    return jax.tree.map(lambda leaf: finite(leaf.astype(np.float64)), found)


def _factor(posterior: Any) -> Array | None:
    """Returns a triangular factor of the covariance; None for a point."""
    if isinstance(posterior, Point):
        return None
    if isinstance(posterior, DiagonalGaussian):
        return jnp.diag(jnp.broadcast_to(posterior.stddev, posterior.mean.shape))
    if isinstance(posterior, FullCovarianceGaussian):
        return jnp.tril(posterior.scale_tril)
    raise NotApplicable(f"a {type(posterior).__name__} posterior is not a Gaussian")


def _covariance_gaps(
    factor: np.ndarray | None, precision: np.ndarray, log_det: np.ndarray
) -> dict[str, np.ndarray | NotApplicable]:
    """Returns 1/2 [tr(P Sigma) - log det(e P Sigma)] of every image, and of the diagonals alone."""
    if factor is None:
        reason = NotApplicable("the encoder returns a point, which has no covariance")
        return {"posterior_covariance_gap": reason, "diagonal_covariance_gap": reason}
    trace = np.sum((precision @ factor) * factor, axis=(1, 2))  # tr(F' P F)
    log_det_factor = np.sum(np.log(np.abs(np.diagonal(factor, axis1=1, axis2=2))), axis=1)
    gap = 0.5 * (trace - factor.shape[1] - log_det) - log_det_factor
    if np.any(np.tril(factor, -1)):
        reason = NotApplicable("the posterior's covariance is not diagonal")
        return {"posterior_covariance_gap": gap, "diagonal_covariance_gap": reason}
    variances = np.square(np.diagonal(factor, axis1=1, axis2=2))
    ratios = variances * np.diagonal(precision, axis1=1, axis2=2)
    own = 0.5 * np.sum(ratios - 1.0 - np.log(ratios), axis=1)
    return {"posterior_covariance_gap": gap, "diagonal_covariance_gap": own}


def _residual_distance(found: AtCodes, prior: np.ndarray) -> Measured:
    scaled = found.code / prior
    own = np.sum(np.square(scaled), axis=1)
    missed = np.sum(np.square(scaled - prior * found.score), axis=1)
    return relative("residual_distance", missed, own, "all codes are 0")


EVALUATION = Evaluation(
    evaluate_stationarity,
    with_errors(
        Measure("residual_distance", better="less"),
        Measure("linearized_log_evidence", unit="nats", better="more"),
        Measure("posterior_mean_gap", unit="nats", better="less"),
        Measure("posterior_covariance_gap", unit="nats", better="less"),
        Measure("diagonal_covariance_gap", unit="nats", better="less"),
    ),
    OPTIONS,
    summary="how close codes and posterior variances are to a stationary point of the ELBO, and the"
    " log evidence of the decoder's tangent",
    source="BACK Eqs. 11, 12, 16, 18",
)
