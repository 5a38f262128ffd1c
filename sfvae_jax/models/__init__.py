"""Encoder and decoder networks, by name."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import ml_collections

from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS, Mlp, MlpVae, count_parameters

MODELS: dict[str, type[nn.Module]] = {"mlp": MlpVae}


def build(config: ml_collections.ConfigDict, data_shape: Sequence[int]) -> nn.Module:
    """The model that the `model` group of a config describes, for examples of one shape."""
    options = {key: value for key, value in config.items() if key != "name"}
    return MODELS[config.name](data_shape=tuple(data_shape), **options)


__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "MODELS",
    "Mlp",
    "MlpVae",
    "build",
    "count_parameters",
]
