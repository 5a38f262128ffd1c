"""Posterior precisions of a linearised decoder, and the cost of one covariance for all (BACK)."""

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

# Without `jit`, each call would compile it anew: a solver in it chooses between two ways.
_penalty = jax.jit(objectives.constant_variance_penalty)


def floating_prior_stddev(trained: TrainedModel, variance: float) -> np.ndarray:
    """Returns S of BACK Eq. 4 from one exact pass over the examples, [m], in float64.

    S = sqrt(Sigma + mean over all examples of mu^2), with Sigma the constant posterior variance.
    Images that training binarises anew at every visit count here with one fixed draw of their
    pixels.
    """

    def code(params: Any, x: Array, key: Array) -> Array:
        del key
        return trained.encode(params, x).mean

    codes = trained.map_images(code, key="posterior means")
    return np.sqrt(variance + np.mean(np.square(codes, dtype=np.float64), axis=0))


def precisions(trained: TrainedModel, images: np.ndarray | None = None) -> np.ndarray:
    """Returns S^-2 + J' F J at every image's code, [N, m, m].

    F is the likelihood's Fisher information, and J the Jacobian of the parameter that it concerns,
    the likelihood's `location` (BACK Eqs. 12 and 25, where F is the identity). It leaves out what
    the latent tells through a variance or a scale that the decoder learns.
    """
    return trained.map_images(image_precision(trained), images, key="precision")


def image_precision(trained: TrainedModel) -> Callable[[Any, Array, Array], Array]:
    """Returns the function of (params, x, key) that computes S^-2 + J' F J of one image, [m, m]."""
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
    """Takes the measures of `constant_variance_penalty` (BACK Eqs. 18, 22), in nats per image."""
    del options
    require_bound(trained)
    # In float64, since one covariance must fit precisions that may differ by orders of magnitude.
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
