"""Likelihoods p(x|z), which interpret a decoder's output as a distribution of the data.

Each takes the decoder's output for one latent as `parameters` and has these methods:
`log_prob(x, parameters)` in nats, summed over x; `mean(parameters)`, E[x|z]; `sample(rng,
parameters)`; and `fisher(parameters)`, the diagonal of the Fisher information of
`location(parameters)`, shaped like it. The location is the mean, except for the discretised
logistic and for sequences. All here also have `information(x, parameters, tangent)`:
minus the second derivative of log p(x|z) along a direction of parameters in which log p is concave
for every x, so that it is not negative: the logits of a choice, the mean of a Gaussian with fixed
variance, and 1/s and location/s of a distribution with a learned scale s. Its mean over x ~ p(x|z)
is the Fisher information along the tangent. Sequences under a grammar have no mean but a
`mode(parameters)`, a whole sentence. `LIKELIHOODS` lists what each likelihood requires of the
decoder and the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfvae_jax.likelihoods.gaussian import Gaussian, HeteroscedasticGaussian
from sfvae_jax.likelihoods.pixels import Bernoulli, DiscretizedLogistic
from sfvae_jax.likelihoods.protocol import Likelihood, SequenceLikelihood
from sfvae_jax.likelihoods.sequences import Categorical, Sequence
from sfvae_jax.likelihoods.spec import LikelihoodSpec
from sfvae_jax.likelihoods.table import LIKELIHOODS

if TYPE_CHECKING:
    import ml_collections

    from sfvae_jax.grammars import Language


def build(config: ml_collections.ConfigDict, language: Language | None = None) -> Likelihood:
    """Makes the likelihood that the group `likelihood` of a configuration describes.

    Args:
        config: the group.
        language: the language of the data, which likelihoods of sequences require.

    Raises:
        ValueError: if a likelihood of sequences is given no language.
    """
    spec = LIKELIHOODS[config.name]
    if spec.of_sequences and language is None:
        raise ValueError(f"likelihood {config.name!r} requires the language of its sequences")
    return spec.build(config, language)


__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Likelihood",
    "LikelihoodSpec",
    "Sequence",
    "SequenceLikelihood",
    "build",
]
