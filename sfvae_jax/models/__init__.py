"""Encoder and decoder networks; the table `MODELS` has the spec of each, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import ml_collections

from sfvae_jax import data
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.models.functions import (
    DECODER_PARTS,
    cast_decoder_function,
    decoder_function,
    forced_decoder_function,
)
from sfvae_jax.models.heads import PosteriorHead
from sfvae_jax.models.lowering.convolution import convolve, convolve_transposed
from sfvae_jax.models.lowering.correlation import LOWERINGS
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS, Mlp
from sfvae_jax.models.recurrent import VALUE_ACTIVATIONS, VALUE_RANGES
from sfvae_jax.models.sequence_vae import SequenceVae
from sfvae_jax.models.spec import Model, ModelSpec
from sfvae_jax.models.table import MODELS
from sfvae_jax.models.vae import OUTPUT_ACTIVATIONS, Vae


def build(config: ml_collections.ConfigDict, data_shape: Sequence[int]) -> Vae | SequenceVae:
    """Makes the model that a resolved config describes, for examples shaped `data_shape`.

    Raises:
        UsageError: if the networks do not accept examples of that shape.
    """
    language, settings = data.language(config.data), config.model
    posterior = dict(config.posterior.items())
    head = PosteriorHead(posterior.pop("name"), settings.latent_size, posterior)
    make_networks = MODELS[settings.name].networks
    if language is not None:
        encoder, decoder = make_networks(settings, head.num_outputs, language)
        values, scale = language.has_values, settings.latent_scale
        return SequenceVae(tuple(data_shape), head, encoder, decoder, values, scale)
    likelihood = LIKELIHOODS[config.likelihood.name]
    multiple = likelihood.outputs_per_element
    encoder, decoder = make_networks(settings, tuple(data_shape), head.num_outputs, multiple)
    return Vae(
        tuple(data_shape),
        head,
        encoder,
        decoder,
        likelihood.name,
        settings.initializer,
        settings.latent_scale,
        settings.output_activation,
    )


def count_parameters(params: Any) -> int:
    """Returns the number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


__all__ = [
    "ACTIVATIONS",
    "DECODER_PARTS",
    "INITIALIZERS",
    "LOWERINGS",
    "MODELS",
    "OUTPUT_ACTIVATIONS",
    "VALUE_ACTIVATIONS",
    "VALUE_RANGES",
    "Mlp",
    "Model",
    "ModelSpec",
    "PosteriorHead",
    "SequenceVae",
    "Vae",
    "build",
    "cast_decoder_function",
    "convolve",
    "convolve_transposed",
    "count_parameters",
    "decoder_function",
    "forced_decoder_function",
]
