"""How single latent dimensions change an image, which of them matter, and nearest images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sfvae_jax.evaluation.bounds.collapse import kl_matrix
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.trained_model import TrainedModel, centers, decode_means


def latent_order(trained: TrainedModel) -> tuple[np.ndarray, np.ndarray, str]:
    """Orders the latent dimensions from the most informative down.

    Returns:
        (order [m], scores [m] by dimension, their name). The scores are the mean over the images of
        KL(q(z_i|x) || p(z_i)), in nats, or the codes' variances if the posterior has no KL
        divergence for each dimension.
    """
    try:
        scores, name = kl_matrix(trained).mean(axis=0), "KL"
    except NotApplicable:
        scores, name = centers(trained, trained.images).var(axis=0), "variance"
    return np.argsort(-scores, kind="stable"), scores, name


def traversals(
    trained: TrainedModel,
    code: np.ndarray,
    dimensions: Sequence[int] | np.ndarray,
    values: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Returns E[x|z] as each dimension of a code in turn takes the values, [D, V, ...].

    The values are in standard deviations of the prior or, for a model without one, of its codes.

    Args:
        trained: the model.
        code: a code [m].
        dimensions: D dimensions of it.
        values: V values.
    """
    if trained.prior_stddev is None:
        codes = centers(trained, trained.images)
        offset, scale = codes.mean(axis=0), codes.std(axis=0)
    else:
        offset, scale = np.zeros_like(code), np.broadcast_to(trained.prior_stddev, code.shape)
    grid = np.tile(code, (len(dimensions), len(values), 1))
    for row, dimension in enumerate(dimensions):
        grid[row, :, dimension] = offset[dimension] + scale[dimension] * np.asarray(values)
    return decode_means(trained, grid)


def nearest(images: np.ndarray, others: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Returns the indices of the nearest others in Euclidean distance, [N, num_neighbours].

    Args:
        images: images [N, ...].
        others: images [M, ...] to choose from; floats, or uint8 where 255 stands for 1.
        num_neighbours: how many to return for each image, at most M.
    """
    flat = np.asarray(images, np.float32).reshape(len(images), -1)
    scale = np.float32(255.0 if others.dtype == np.uint8 else 1.0)
    distances = []
    for start in range(0, len(others), 2000):
        chunk = others[start : start + 2000].reshape(-1, flat.shape[1]).astype(np.float32) / scale
        distances.append(np.sum(np.square(chunk), axis=1) - 2.0 * flat @ chunk.T)
    return np.argsort(np.concatenate(distances, axis=1), axis=1, kind="stable")[:, :num_neighbours]
