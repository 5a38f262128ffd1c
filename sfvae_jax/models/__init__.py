"""Encoder and decoder networks, by name."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import ml_collections

from sfvae_jax.models.heads import POSTERIORS, STDDEVS, PosteriorHead
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS, Mlp, MlpVae, count_parameters

MODELS: dict[str, type[nn.Module]] = {"mlp": MlpVae}


def build(config: ml_collections.ConfigDict, data_shape: Sequence[int]) -> nn.Module:
    """The model that a resolved config describes, for examples of one shape."""
    options = dict(config.model.items())
    name, latent_size = options.pop("name"), options.pop("latent_size")
    posterior = dict(config.posterior.items())
    head = PosteriorHead(posterior.pop("name"), latent_size, **posterior)
    return MODELS[name](
        data_shape=tuple(data_shape), head=head, likelihood=config.likelihood.name, **options
    )


__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "MODELS",
    "POSTERIORS",
    "STDDEVS",
    "Mlp",
    "MlpVae",
    "PosteriorHead",
    "build",
    "count_parameters",
]
