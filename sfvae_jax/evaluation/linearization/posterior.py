"""The Gaussian posteriors that the decoder's tangent at each image's code implies (BACK).

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder".
"""

from __future__ import annotations

import numpy as np

from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.linearization.constant_variance import precisions
from sfvae_jax.evaluation.trained_model import TrainedModel, centers, require_bound
from sfvae_jax.posteriors import DiagonalGaussian, FullCovarianceGaussian


def linearized_posteriors(
    trained: TrainedModel, images: np.ndarray
) -> tuple[FullCovarianceGaussian, DiagonalGaussian]:
    """Returns posteriors around the encoder's codes, which need no optimisation.

    P = S^-2 + J' F J at the code mu   (BACK Eq. 12; F as in `constant_variance.precisions`)
    full     = N(mu, P^-1)
    diagonal = N(mu, diag(1 / P_ii))

    The second minimises KL(q || full) over all diagonal q around mu: that divergence is
    1/2 sum_i [P_ii s_i^2 - log s_i^2] plus terms without s, and is least at s_i^2 = 1 / P_ii.
    For a linear decoder, a Gaussian likelihood and the exact mean the first is the true posterior.

    Args:
        trained: the model, with any posterior that has a center.
        images: stored images [N, ...].

    Returns:
        (full, diagonal), each a posterior of NumPy arrays [N, ...].

    Raises:
        NotApplicable: if the model has no bound or no prior.
        RunError: if codes or precisions are not finite.
    """
    require_bound(trained)
    mean = centers(trained, images)
    precision = at_least_the_prior(
        precisions(trained, images).astype(np.float64),
        np.broadcast_to(np.asarray(trained.prior(), np.float64), mean.shape[1:]),
    )
    stddev = np.diagonal(precision, axis1=1, axis2=2) ** -0.5
    return (
        FullCovarianceGaussian(mean, inverse_factor(precision).astype(mean.dtype)),
        DiagonalGaussian(mean, stddev.astype(mean.dtype)),
    )


def inverse_factor(precision: np.ndarray) -> np.ndarray:
    """Returns the lower triangular L with L L' = P^-1 of each P [..., m, m], without forming P^-1.

    The Cholesky factor of P with its rows and columns reversed, reversed back, is an upper
    triangular U with U U' = P. L is the transpose of its inverse.

    Raises:
        numpy.linalg.LinAlgError: if a P is not positive definite.
    """
    upper = np.linalg.cholesky(precision[..., ::-1, ::-1])[..., ::-1, ::-1]
    return np.tril(np.swapaxes(np.linalg.inv(upper), -1, -2))


def at_least_the_prior(precision: np.ndarray, prior_stddev: np.ndarray) -> np.ndarray:
    """Returns the precisions, raised to the prior's where rounding has put them below it.

    S P S = I + S J' F J S has no eigenvalue below 1. But if its largest is above 1e7, rounding its
    entries to float32 may bring another below 1, or even below 0. Such an eigenvalue becomes 1.

    Args:
        precision: [N, m, m], in float64.
        prior_stddev: S, [m].

    Raises:
        RunError: if a precision is not finite.
    """
    if not np.isfinite(precision).all():
        raise RunError("the linearised posterior is not finite at this checkpoint")
    scales = np.outer(prior_stddev, prior_stddev)
    values, vectors = np.linalg.eigh(precision * scales)
    kept = vectors * np.maximum(values, 1.0)[:, None, :]
    return kept @ np.swapaxes(vectors, -1, -2) / scales
