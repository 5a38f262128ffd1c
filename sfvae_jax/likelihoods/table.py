"""The table of all likelihoods; to add one, write its file and name its spec here."""

from __future__ import annotations

from sfvae_jax.likelihoods.gaussian import GAUSSIAN, HETEROSCEDASTIC_GAUSSIAN
from sfvae_jax.likelihoods.pixels import BERNOULLI, DISCRETIZED_LOGISTIC
from sfvae_jax.likelihoods.sequences import CATEGORICAL, SEQUENCE
from sfvae_jax.likelihoods.spec import LikelihoodSpec

LIKELIHOODS: dict[str, LikelihoodSpec] = {
    spec.name: spec
    for spec in (
        GAUSSIAN,
        HETEROSCEDASTIC_GAUSSIAN,
        BERNOULLI,
        DISCRETIZED_LOGISTIC,
        CATEGORICAL,
        SEQUENCE,
    )
}
