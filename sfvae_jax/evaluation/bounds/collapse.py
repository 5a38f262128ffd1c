"""(epsilon, delta)-posterior collapse and the KL divergence it is measured by."""

from __future__ import annotations

from typing import Any

import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel, once_per_checkpoint, require
from sfvae_jax.options import BELOW_1, POSITIVE, Option

OPTIONS = {
    "epsilon": Option(
        0.05, POSITIVE, "KL divergence, in nats, below which a latent dimension counts as collapsed"
    ),
    "delta": Option(
        0.01, BELOW_1, "Share of the examples whose KL divergence may still exceed epsilon"
    ),
}


def collapse_fraction(kl: np.ndarray, *, epsilon: float = 0.05, delta: float = 0.01) -> float:
    """Returns the share of latent dimensions that have (epsilon, delta)-collapsed.

    Dimension i has collapsed if P_x( KL(q(z_i|x) || p(z_i)) < epsilon ) >= 1 - delta
    (SFVAE Eq. 22, after Lucas et al.; the paper prints the probability as an expectation).

    Args:
        kl: KL(q(z_i|x) || p(z_i)) of N examples, [N, m], in nats.
        epsilon: threshold on the divergence, in nats.
        delta: share of the examples that may exceed it, in [0, 1).

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: if kl is not of rank 2 or is empty, or epsilon or delta is out of range.
    """
    kl = np.asarray(kl)
    if kl.ndim != 2 or kl.size == 0:
        raise ValueError(f"kl must be a non-empty [N, m] array, got shape {kl.shape}")
    if epsilon <= 0 or not 0 <= delta < 1:
        raise ValueError(f"epsilon must be positive and delta in [0, 1), got {epsilon} and {delta}")
    # Compares counts, with room for the rounding of 1 - delta: 99 of 100 meet delta = 0.01.
    num_below = np.sum(kl < epsilon, axis=0)
    needed = (1.0 - delta) * kl.shape[0] * (1.0 - 1e-12)
    return float(np.mean(num_below >= needed))


@once_per_checkpoint
def kl_matrix(trained: TrainedModel) -> np.ndarray:
    """Returns KL(q(z_i|x) || p(z_i)) of every example and latent dimension, [N, m], in nats.

    Raises:
        NotApplicable: if the posterior has no such divergence, or the model no prior.
    """
    prior_stddev = trained.prior()

    def kl(params: Any, x: Array, key: Array) -> Array:
        del key
        purpose = "KL divergence of a latent dimension in closed form"
        return require(trained.encode(params, x), "kl_per_dimension", purpose)(prior_stddev)

    return trained.map_images(kl, key="KL divergence of each dimension")


def evaluate_collapse(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> dict[str, float]:
    """Takes the measure of `collapse`."""
    fraction = collapse_fraction(kl_matrix(trained), epsilon=options.epsilon, delta=options.delta)
    return {"collapse_fraction": fraction}


def evaluate_kl(trained: TrainedModel, options: ml_collections.ConfigDict) -> dict[str, float]:
    """Takes the measure of `kl_divergence`, a mean over the examples in nats."""
    del options
    prior_stddev = trained.prior()

    def kl(params: Any, x: Array, key: Array) -> Array:
        del key
        purpose = "KL divergence in closed form"
        return require(trained.encode(params, x), "kl_to_prior", purpose)(prior_stddev)

    return {
        "kl_divergence": float(
            np.mean(trained.map_images(kl, key="KL divergence"), dtype=np.float64)
        )
    }


COLLAPSE = Evaluation(
    evaluate_collapse,
    (Measure("collapse_fraction", is_percentage=True, better="less"),),
    OPTIONS,
    summary="share of the latent dimensions whose KL divergence is below `epsilon` for all but a"
    " share `delta` of the examples",
    source="SFVAE Eq. 22",
    examples="both",
)
KL_DIVERGENCE = Evaluation(
    evaluate_kl,
    (Measure("kl_divergence", unit="nats"),),
    summary="KL(q(z given x), p(z)) of the whole posterior",
    examples="both",
)
