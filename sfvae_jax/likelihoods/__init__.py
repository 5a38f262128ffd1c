"""Likelihoods p(x|z): what a decoder's output means as a distribution of the data.

Each takes the decoder's output for one latent as `parameters` and says of it: `log_prob(x,
parameters)` in nats, summed over x; `mean(parameters)`, E[x|z]; `sample(rng, parameters)`; and
`fisher(parameters)`, the diagonal of the Fisher information of `location(parameters)`, shaped like
it: the mean, but for the discretised logistic and for sequences. `information(x, parameters,
tangent)` is minus the second derivative of log p(x|z) along a direction of the parameters, of those
likelihoods whose parameters have one that is the same for all x, or all x that allow the same.
Sequences under a grammar have no mean; theirs is `mode(parameters)`, a whole sentence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sfvae_jax.likelihoods.gaussian import Gaussian, HeteroscedasticGaussian
from sfvae_jax.likelihoods.pixels import Bernoulli, DiscretizedLogistic
from sfvae_jax.likelihoods.sequences import Categorical, Sequence
from sfvae_jax.likelihoods.traits import LIKELIHOODS

if TYPE_CHECKING:
    import ml_collections

    from sfvae_jax.grammars import Language


def build(config: ml_collections.ConfigDict, language: Language | None = None) -> Any:
    """The likelihood that the `likelihood` group of a config describes.

    Args:
        config: the group.
        language: of the data, which "categorical" and "sequence" are of.

    Raises:
        ValueError: if these two are given no language.
    """
    if config.name == "gaussian":
        return Gaussian(config.variance)
    if config.name == "heteroscedastic_gaussian":
        return HeteroscedasticGaussian(config.min_variance, config.max_variance or math.inf)
    if config.name in ("categorical", "sequence"):
        return _of_language(config, language)
    return {"bernoulli": Bernoulli, "discretized_logistic": DiscretizedLogistic}[config.name]()


def _of_language(
    config: ml_collections.ConfigDict, language: Language | None
) -> Categorical | Sequence:
    if language is None:
        raise ValueError(f"likelihood {config.name!r} needs the language of its sequences")
    if config.name == "categorical":
        return Categorical(language.tables)
    return Sequence(language.tables, config.variance)


__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Sequence",
    "build",
]
