"""From a config's `objective` and `likelihood` groups to the ELBO of one example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_collections
from jax import Array

from sfvae_jax import likelihoods, objectives

# (rng, decode, x, posterior, gamma) -> Elbo of one example
ExampleElbo = Callable[[Array, Callable, Array, Any, Array], objectives.Elbo]


def build_elbo(config: ml_collections.ConfigDict) -> ExampleElbo:
    """The ELBO that the config names, as a function of one example.

    A deterministic objective is given the key and does not use it; one without gamma likewise.
    """
    return _BUILDERS[config.objective.name](config)


def _sampling(config: ml_collections.ConfigDict) -> ExampleElbo:
    likelihood = likelihoods.Gaussian(config.likelihood.variance)
    num_samples = config.objective.num_samples

    def elbo(
        rng: Array, decode: Callable, x: Array, posterior: Any, gamma: Array
    ) -> objectives.Elbo:
        del gamma
        return objectives.sampling_elbo(
            rng, decode, x, posterior, likelihood, num_samples=num_samples
        )

    return elbo


def _sampling_free(config: ml_collections.ConfigDict) -> ExampleElbo:
    variance = config.likelihood.variance

    def elbo(
        rng: Array, decode: Callable, x: Array, posterior: Any, gamma: Array
    ) -> objectives.Elbo:
        del rng
        return objectives.sampling_free_elbo(
            decode, x, posterior.mean, posterior.stddev, observation_variance=variance, gamma=gamma
        )

    return elbo


_BUILDERS = {"sampling": _sampling, "sampling_free": _sampling_free}
