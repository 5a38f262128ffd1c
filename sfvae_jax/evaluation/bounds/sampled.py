"""Sampled bounds on log p(x), for models trained with any objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.evaluation.measured import Measured, NotApplicable, Value
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel, require, require_bound
from sfvae_jax.likelihoods import Gaussian
from sfvae_jax.options import COUNT, Option


def evaluate_lower_bound(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> dict[str, float]:
    """Takes the measure of `lower_bound`: the sampled ELBO, a mean over the examples in nats."""
    return {"lower_bound": _mean_bound(trained, _elbo, options.num_samples)}


def _elbo(*arguments: Any, **settings: Any) -> Array:
    return objectives.sampling_elbo(*arguments, **settings).value


def evaluate_iwae_bound(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measures of `iwae_bound`: the bound of k samples, means over the examples in nats.

    For a Gaussian likelihood with fixed variance c, `nll_without_constant` is the negative bound
    less n/2 log(2 pi c): what is left of -log p(x) without the noise's constant.
    """
    bound = _mean_bound(trained, objectives.iwae_bound, options.num_samples)
    constant = gaussian_constant(trained)
    return {
        "iwae_bound": bound,
        "nll_without_constant": constant
        if isinstance(constant, NotApplicable)
        else -bound - constant,
    }


def gaussian_constant(trained: TrainedModel) -> Value:
    """Returns n/2 log(2 pi c) of a Gaussian likelihood with fixed variance c, in nats."""
    if not isinstance(trained.likelihood, Gaussian):
        return NotApplicable("the likelihood is not a Gaussian with fixed variance")
    num_pixels = math.prod(trained.images.shape[1:])
    return 0.5 * num_pixels * math.log(2.0 * math.pi * trained.likelihood.variance)


def map_bound(
    trained: TrainedModel,
    bound: Callable[..., Any],
    images: np.ndarray | None = None,
    batch_size: int | None = None,
    posteriors: Any = None,
    rng: Array | None = None,
    **settings: Any,
) -> Any:
    """Returns a bound of every example, as `TrainedModel.map_images` returns it.

    Args:
        trained: the model.
        bound: is called as `bound(key, decode, x, posterior, likelihood, prior_stddev=...,
            **settings)`.
        images: stored examples [N, ...]; None: those of the model.
        batch_size: how many examples are measured at once; None: `evaluations.batch_size`.
        posteriors: one for each example, a pytree of arrays [N, ...]; None: the model's own.
        rng: the key of the noise; None: that of the model.
        **settings: what else the bound takes.

    Raises:
        NotApplicable: if the model has no bound, no prior, or a posterior without samples.
    """
    require_bound(trained)
    prior_stddev = jnp.asarray(trained.prior(), jnp.float32)

    def value(params: Any, x: Array, key: Array, given: Any) -> Any:
        posterior = trained.encode(params, x) if given is None else given
        require(posterior, "sample_and_log_prob", "samples")
        return bound(
            key,
            lambda z: trained.decode_given(params, z, x),
            x,
            posterior,
            trained.likelihood,
            prior_stddev=prior_stddev,
            **settings,
        )

    key = ("map_bound", bound, *sorted(settings.items()))
    return trained.map_images(value, images, posteriors, batch_size=batch_size, key=key, rng=rng)


def _mean_bound(trained: TrainedModel, bound: Callable[..., Array], num_samples: int) -> float:
    values = map_bound(trained, bound, num_samples=num_samples)
    return float(np.mean(values, dtype=np.float64))


LOWER_BOUND = Evaluation(
    evaluate_lower_bound,
    (Measure("lower_bound", unit="nats", better="more"),),
    {"num_samples": Option(1, COUNT, "Number of samples of the posterior of each example")},
    summary="the ELBO, estimated with `num_samples` samples",
    examples="both",
)
IWAE_BOUND = Evaluation(
    evaluate_iwae_bound,
    (
        Measure("iwae_bound", unit="nats", better="more"),
        Measure("nll_without_constant", unit="nats", digits=2, better="less"),
    ),
    {
        "num_samples": Option(
            100, COUNT, "Number of samples of each example, k, which are decoded at once"
        )
    },
    summary="the importance-weighted bound of `num_samples` samples; -bound - n/2 log(2 pi c)",
    source="GAPS Eq. 9, SFVAE Table 3",
    examples="both",
)
