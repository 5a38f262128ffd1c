"""Encoder and decoder networks, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections

from sfvae_jax import data
from sfvae_jax.models import conv, conv_bn, conv_elu, grammar, mlp, recurrent
from sfvae_jax.models.convolution import convolve, convolve_transposed
from sfvae_jax.models.correlation import LOWERINGS
from sfvae_jax.models.functions import (
    cast_decoder_function,
    decoder_function,
    forced_decoder_function,
)
from sfvae_jax.models.heads import POSTERIORS, STDDEVS, PosteriorHead
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS, Mlp
from sfvae_jax.models.recurrent import VALUE_ACTIVATIONS, VALUE_RANGES
from sfvae_jax.models.sequence_vae import SequenceVae
from sfvae_jax.models.vae import MULTIPLES, OUTPUT_ACTIVATIONS, Vae

Networks = Callable[..., tuple[nn.Module, nn.Module]]

# (`model` group, shape of an example, outputs of the encoder, numbers for an element) to networks;
# of sequences (`model` group, outputs of the encoder, language).
IMAGE_MODELS: dict[str, Networks] = {
    "mlp": mlp.networks,
    "conv": conv.networks,
    "conv_bn": conv_bn.networks,
    "conv_elu": conv_elu.networks,
}
SEQUENCE_MODELS: dict[str, Networks] = {
    "grammar": grammar.networks,
    "recurrent": recurrent.networks,
}
MODELS = {**IMAGE_MODELS, **SEQUENCE_MODELS}


def build(config: ml_collections.ConfigDict, data_shape: Sequence[int]) -> Vae | SequenceVae:
    """The model that a resolved config describes, for examples of one shape.

    Raises:
        UsageError: if the networks do not take examples of that shape.
    """
    language = data.language(config.data)
    settings, likelihood = config.model, config.likelihood.name
    posterior = dict(config.posterior.items())
    head = PosteriorHead(posterior.pop("name"), settings.latent_size, **posterior)
    if language is not None:
        networks = SEQUENCE_MODELS[settings.name]
        encoder, decoder = networks(settings, head.num_outputs, language)
        values, scale = language.has_values, settings.latent_scale
        return SequenceVae(tuple(data_shape), head, encoder, decoder, values, scale)
    multiple = MULTIPLES.get(likelihood, 1)
    networks = IMAGE_MODELS[settings.name]
    encoder, decoder = networks(settings, tuple(data_shape), head.num_outputs, multiple)
    return Vae(
        tuple(data_shape),
        head,
        encoder,
        decoder,
        likelihood,
        settings.initializer,
        settings.latent_scale,
        settings.output_activation,
    )


def count_parameters(params: Any) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


__all__ = [
    "ACTIVATIONS",
    "IMAGE_MODELS",
    "INITIALIZERS",
    "LOWERINGS",
    "MODELS",
    "OUTPUT_ACTIVATIONS",
    "POSTERIORS",
    "SEQUENCE_MODELS",
    "STDDEVS",
    "VALUE_ACTIVATIONS",
    "VALUE_RANGES",
    "Mlp",
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
