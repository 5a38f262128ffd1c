"""log p(x) by importance sampling with the model's own posterior, in constant memory."""

from __future__ import annotations

from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation.bounds.importance import (
    ImportanceStatistics,
    importance_log_evidence,
    importance_statistics,
)
from sfvae_jax.evaluation.bounds.sampled import gaussian_constant, map_bound
from sfvae_jax.evaluation.measured import Doubtful, Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.standard_errors import monte_carlo_error, standard_error
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import COUNT, COUNT_OR_0, Option

# Nats from which on the estimates, which are too low in expectation, have a caveat.
LEAST_BIAS = 0.05

OPTIONS = {
    "num_samples": Option(50_000, COUNT, "Number of samples of the posterior of each example"),
    "chunk_size": Option(
        500, COUNT, "Number of samples that are decoded at once; more take more memory"
    ),
    "num_images": Option(0, COUNT_OR_0, "Number of examples to measure, from the first; 0 = all"),
}


def bounds_of(
    trained: TrainedModel,
    images: np.ndarray,
    posterior: Any = None,
    *,
    num_samples: int,
    chunk_size: int,
) -> ImportanceStatistics:
    """Returns the ELBO and the IWAE bound of every example, from the same K samples of each.

    Args:
        trained: the model.
        images: stored examples [N, ...].
        posterior: a posterior for each example, a pytree of arrays [N, ...] as from
            `optimize_posteriors`; None: the model's own.
        num_samples: K.
        chunk_size: how many samples of one example are decoded at once.

    Returns:
        `ImportanceStatistics` of NumPy arrays [N].

    Raises:
        NotApplicable: if the model has no bound, no prior, or a posterior without samples.
        ValueError: if num_samples or chunk_size is less than 1, or there are not as many posteriors
            as examples.
    """
    sizes: dict[str, Any] = {"num_samples": num_samples, "chunk_size": chunk_size}
    return map_bound(trained, importance_statistics, images, 1, posterior, **sizes)


def evaluate_marginal_likelihood(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Measured:
    """Takes the measures of `marginal_likelihood` on the first `num_images` examples, in nats.

    `marginal_likelihood` is the mean of log p(x) over the examples, with all constants;
    `marginal_likelihood_without_constant` leaves out the Gaussian's -n/2 log(2 pi c). There are two
    errors. `..._standard_error` says what another draw of examples would change: their standard
    deviation over sqrt(N), Monte Carlo noise included. `..._monte_carlo_error` says what another
    draw of latents for the same examples would change: sqrt(sum_i se_i^2) / N.
    `effective_sample_size` is the mean over the examples, `least_effective_sample_size` the
    smallest. The log of a mean weight is low by se_i^2 / 2 in expectation, to first order; the
    estimates carry a caveat if the mean of that is above `LEAST_BIAS`. Examples are decoded one
    after the other, `chunk_size` latents at once.
    """
    images = trained.images[: options.num_images or None]
    estimates = map_bound(
        trained,
        importance_log_evidence,
        images,
        batch_size=1,
        num_samples=options.num_samples,
        chunk_size=options.chunk_size,
    )
    values, effective, errors = (np.asarray(estimate, np.float64) for estimate in estimates)
    mean, constant = float(np.mean(values)), gaussian_constant(trained)
    caveat = _caveat(errors, effective, options.num_samples)
    return {
        "marginal_likelihood": _marked(mean, caveat),
        "marginal_likelihood_without_constant": constant
        if isinstance(constant, NotApplicable)
        else _marked(mean + constant, caveat),
        "marginal_likelihood_standard_error": standard_error(values),
        "marginal_likelihood_monte_carlo_error": monte_carlo_error(errors, "sample"),
        "effective_sample_size": float(np.mean(effective)),
        "least_effective_sample_size": float(np.min(effective)),
    }


def _caveat(errors: np.ndarray, effective: np.ndarray, num_samples: int) -> str:
    """Says how far the estimates are too low; "" if that is little, or one sample cannot tell."""
    bias = 0.5 * float(np.mean(np.square(errors)))
    if not bias > LEAST_BIAS:
        return ""
    return (
        f"few samples count (for half of the examples at most {np.median(effective):.1f} of"
        f" {num_samples}), so it is too low, by {bias:.2f} nats or more; raise"
        " evaluations.marginal_likelihood.num_samples, or estimate log p(x) by annealing, with the"
        " evaluation inference_gaps; objective.bend_weight=1 trains closer posteriors"
    )


def _marked(value: float, caveat: str) -> float:
    return Doubtful(value, caveat) if caveat else value


_LOG_EVIDENCE = Measure("marginal_likelihood", unit="nats", better="more")
EVALUATION = Evaluation(
    evaluate_marginal_likelihood,
    (
        _LOG_EVIDENCE,
        Measure("marginal_likelihood_without_constant", unit="nats", better="more"),
        _LOG_EVIDENCE.error(),
        _LOG_EVIDENCE.error("monte_carlo_error", digits=1),
        Measure("effective_sample_size", better="more"),
        Measure("least_effective_sample_size", better="more"),
    ),
    OPTIONS,
    summary="log p(x) by importance sampling with the model's own posterior; log p(x) + n/2"
    " log(2 pi c); its error over examples and over samples, and how many of the samples count",
    source="SFVAE 4.2",
    examples="both",
)
