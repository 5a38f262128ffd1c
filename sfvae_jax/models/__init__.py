"""Encoder and decoder networks, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections

from sfvae_jax.models import conv, conv_bn, conv_elu, mlp
from sfvae_jax.models.convolution import convolve, convolve_transposed
from sfvae_jax.models.correlation import LOWERINGS
from sfvae_jax.models.functions import cast_decoder_function, decoder_function
from sfvae_jax.models.heads import POSTERIORS, STDDEVS, PosteriorHead
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS, Mlp
from sfvae_jax.models.vae import MULTIPLES, Vae

# (`model` group, shape of an example, outputs of the encoder, numbers for an element) to networks.
MODELS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "mlp": mlp.networks,
    "conv": conv.networks,
    "conv_bn": conv_bn.networks,
    "conv_elu": conv_elu.networks,
}


def build(config: ml_collections.ConfigDict, data_shape: Sequence[int]) -> Vae:
    """The model that a resolved config describes, for examples of one shape.

    Raises:
        UsageError: if its networks do not take examples of that shape.
    """
    settings, likelihood = config.model, config.likelihood.name
    posterior = dict(config.posterior.items())
    head = PosteriorHead(posterior.pop("name"), settings.latent_size, **posterior)
    multiple = MULTIPLES.get(likelihood, 1)
    encoder, decoder = MODELS[settings.name](
        settings, tuple(data_shape), head.num_outputs, multiple
    )
    return Vae(
        tuple(data_shape),
        head,
        encoder,
        decoder,
        likelihood,
        settings.initializer,
        settings.latent_scale,
    )


def count_parameters(params: Any) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "LOWERINGS",
    "MODELS",
    "POSTERIORS",
    "STDDEVS",
    "Mlp",
    "PosteriorHead",
    "Vae",
    "build",
    "cast_decoder_function",
    "convolve",
    "convolve_transposed",
    "count_parameters",
    "decoder_function",
]
