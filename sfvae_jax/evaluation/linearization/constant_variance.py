"""What the codes of a trained model say about its prior and its posterior (BACK)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel, require_bound

# As it is, it would be compiled anew at each call: a solver chooses between two ways.
_penalty = jax.jit(objectives.constant_variance_penalty)


def floating_prior_stddev(trained: TrainedModel, variance: float) -> np.ndarray:
    """S of BACK Eq. 4 from one exact pass over the images, [m].

    sqrt(Sigma + mean over all images of mu^2), Sigma the constant posterior variance; in float64.
    Images that training binarises anew at every visit are here one fixed draw of their pixels.
    """

    def code(params: Any, x: Array, key: Array) -> Array:
        del key
        return trained.encode(params, x).mean

    codes = trained.map_images(code, key="posterior means")
    return np.sqrt(variance + np.mean(np.square(codes, dtype=np.float64), axis=0))


def precisions(trained: TrainedModel, images: np.ndarray | None = None) -> np.ndarray:
    """S^-2 + J' F J at every image's code, [N, m, m]; F the likelihood's Fisher information.

    J is the Jacobian of the parameter that F is of, the likelihood's `location` (BACK Eqs. 12 and
    25, where F is the identity). What the latent tells through a variance or scale that the decoder
    learns is not in it.
    """
    return trained.map_images(image_precision(trained), images, key="precision")


def image_precision(trained: TrainedModel) -> Callable[[Any, Array, Array], Array]:
    """The function of (params, x, key) that gives S^-2 + J' F J of one image, [m, m]."""
    prior_stddev = trained.prior()

    def precision(params: Any, x: Array, key: Array) -> Array:
        del key
        code = trained.encode(params, x).center()
        fisher = trained.likelihood.fisher(trained.decode(params, code))
        return objectives.posterior_precision(
            lambda z: trained.likelihood.location(trained.decode(params, z)),
            code,
            observation_variance=1.0 / fisher,
            prior_stddev=prior_stddev,
        )

    return precision


def evaluate_constant_variance_penalty(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> dict[str, float]:
    """The evaluation `constant_variance_penalty` (BACK Eqs. 18 and 22), in nats per image."""
    del options
    require_bound(trained)
    # In float64: one covariance must serve precisions that may differ by orders of magnitude.
    with jax.enable_x64(True):
        exact, second_order = _penalty(np.asarray(precisions(trained), np.float64))
    return {
        "constant_variance_gap": float(exact),
        "constant_variance_penalty": float(second_order),
    }


EVALUATION = Evaluation(
    evaluate_constant_variance_penalty,
    (
        Measure("constant_variance_gap", unit="nats", better="less"),
        Measure("constant_variance_penalty", unit="nats", better="less"),
    ),
    summary="what one posterior covariance for all images would cost",
    source="BACK Eqs. 18, 22",
)
