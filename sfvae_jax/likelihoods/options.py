"""The group `likelihood` of a configuration, and a check of options that depend on each other."""

from __future__ import annotations

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.options import NOT_NEGATIVE, POSITIVE, Option, one_of

LIKELIHOOD = {
    "name": Option(
        "gaussian",
        one_of("likelihood", LIKELIHOODS),
        "Distribution of the data given the decoder's output: "
        + "; ".join(f"{spec.name}, {spec.summary}" for spec in LIKELIHOODS.values()),
    ),
    "variance": Option(
        0.5,
        POSITIVE,
        "Variance of the likelihood gaussian, and of the values in the likelihood sequence",
    ),
    "min_variance": Option(
        0.0, NOT_NEGATIVE, "Lower bound of the variances in heteroscedastic_gaussian"
    ),
    "max_variance": Option(
        0.0, NOT_NEGATIVE, "Upper bound of the variances in heteroscedastic_gaussian; 0 = none"
    ),
}


def check_likelihood(group: ml_collections.ConfigDict) -> None:
    """Checks that the lower bound of learned variances is below the upper one.

    Args:
        group: the group `likelihood`.

    Raises:
        UsageError: naming both bounds.
    """
    low, high = group.min_variance, group.max_variance
    if high and low >= high:
        raise UsageError(
            f"likelihood.min_variance {low} must be below likelihood.max_variance {high}"
        )
