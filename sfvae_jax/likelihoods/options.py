"""The group `likelihood` of a configuration, and a check of options that depend on each other."""

from __future__ import annotations

from collections.abc import Mapping

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.likelihoods import LIKELIHOODS, LikelihoodSpec
from sfvae_jax.options import (
    NOT_NEGATIVE,
    POSITIVE,
    Option,
    check_own_options,
    one_of,
    own_options,
)

DEFAULT = "gaussian"
"""The likelihood of a config that names none."""


def option_group(specs: Mapping[str, LikelihoodSpec] = LIKELIHOODS) -> dict[str, Option]:
    """Returns the options of the group, with those that the likelihoods of a table add."""
    return {
        "name": Option(
            DEFAULT,
            one_of("likelihood", specs),
            "Distribution of the data given the decoder's output: "
            + "; ".join(f"{spec.name}, {spec.summary}" for spec in specs.values()),
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
        **own_options(specs),
    }


def check_likelihood(group: ml_collections.ConfigDict) -> None:
    """Checks that bounds of learned variances are in order, and whose options are set.

    Args:
        group: the group `likelihood`.

    Raises:
        UsageError: naming the options.
    """
    check_own_options("likelihood", group, LIKELIHOODS, group.name)
    low, high = group.min_variance, group.max_variance
    if high and low >= high:
        raise UsageError(
            f"likelihood.min_variance {low} must be below likelihood.max_variance {high}"
        )
