"""The networks of the GrammarVAE (Kusner et al. 2017) for sequences of rules or characters.

The encoder convolves over the places of a sequence; the decoder consists of gated recurrent units.
The decoder does not see which rules were chosen before. Only the grammar makes sure that its logits
lead to sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax import data
from sfvae_jax.data.sequences.kind import GrammarSizes
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Language
from sfvae_jax.models.convolutional.conv_bn import normalize
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS
from sfvae_jax.models.spec import Axes, ModelSpec


class GrammarEncoder(nn.Module):
    """Convolutions over the places of a sequence, without padding, and dense layers.

    Attributes:
        num_rules: the number K of indices that a place may hold.
        num_outputs: the number of outputs of the last layer, which is linear.
        channels: the number of filters of each convolution.
        kernel_sizes: the length of each convolution.
        hidden_sizes: the widths of the dense layers before the last.
        activation: the activation after each layer but the last, a key of `ACTIVATIONS`.
        initializer: the initializer of the kernels, a key of `INITIALIZERS`.
        batch_norm: whether BatchNorm follows each convolution's activation.
    """

    num_rules: int
    num_outputs: int
    channels: Sequence[int]
    kernel_sizes: Sequence[int]
    hidden_sizes: Sequence[int]
    activation: str = "relu"
    initializer: str = "lecun_normal"
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: Array, axes: Axes = None) -> Array:
        """Maps indices [T] to [num_outputs]; `axes` as in `conv_bn.normalize`."""
        init, activate = INITIALIZERS[self.initializer], ACTIVATIONS[self.activation]
        x = jax.nn.one_hot(x, self.num_rules)
        for channels, size in zip(self.channels, self.kernel_sizes, strict=True):
            x = activate(nn.Conv(channels, (size,), padding="VALID", kernel_init=init)(x))
            if self.batch_norm:
                x = normalize(x, axes)
        x = x.ravel()
        for size in self.hidden_sizes:
            x = activate(nn.Dense(size, kernel_init=init)(x))
        return nn.Dense(self.num_outputs, kernel_init=init)(x)


class GrammarDecoder(nn.Module):
    """A dense layer, whose output is repeated at all places, recurrent layers, and logits.

    The dense layer is as wide as the latent.

    Attributes:
        num_places: T.
        num_rules: the number K of indices that a place may hold.
        sizes: the number of units of each recurrent layer (GRU).
        activation: the activation of the first dense layer, a key of `ACTIVATIONS`.
        initializer: the initializer of the kernels, a key of `INITIALIZERS`; kernels from a
            recurrent layer to itself are initialised as orthogonal matrices.
        batch_norm: whether BatchNorm precedes the first layer.
    """

    num_places: int
    num_rules: int
    sizes: Sequence[int]
    activation: str = "relu"
    initializer: str = "lecun_normal"
    batch_norm: bool = False

    @nn.compact
    def __call__(self, z: Array, axes: Axes = None) -> Array:
        """Maps a latent [m] to logits [T, K]; `axes` as in `conv_bn.normalize`."""
        init = INITIALIZERS[self.initializer]
        if self.batch_norm:
            z = normalize(z, axes)
        x = ACTIVATIONS[self.activation](nn.Dense(z.size, kernel_init=init)(z))
        hidden: Any = jnp.broadcast_to(x, (self.num_places, x.size))
        for size in self.sizes:
            hidden = nn.RNN(nn.GRUCell(size, kernel_init=init))(hidden)
        return nn.Dense(self.num_rules, kernel_init=init)(hidden)


def networks(
    config: ml_collections.ConfigDict, num_outputs: int, language: Language
) -> tuple[nn.Module, nn.Module]:
    """Makes an encoder and a decoder for sequences.

    The sizes that the config leaves open are those of the kind of sequences (`GrammarSizes`), for
    expressions and molecules those of the authors' code. In that code the dense layers have 100 and
    435 units, and only the model of expressions has BatchNorm.

    Args:
        config: the `model` group: channels and kernel_sizes (empty: those of the kind),
            hidden_sizes, decoder_sizes (None: those of the kind), activation, initializer,
            batch_norm.
        num_outputs: the number of outputs of the encoder.
        language: the language of the sequences.

    Raises:
        UsageError: if the layers do not fit the sequences.
    """
    kind = data.sequence_kind(language.kind)
    defaults = kind.grammar_sizes if kind else GrammarSizes()
    channels = tuple(config.channels) or defaults.channels
    kernel_sizes = tuple(config.kernel_sizes) or defaults.kernel_sizes
    sizes = config.decoder_sizes
    sizes = defaults.decoder_sizes if sizes is None else tuple(sizes)
    _check(channels, kernel_sizes, sizes, language.num_places)
    style = (config.activation, config.initializer, config.batch_norm)
    num_rules, hidden_sizes = language.grammar.size, tuple(config.hidden_sizes)
    encoder = GrammarEncoder(num_rules, num_outputs, channels, kernel_sizes, hidden_sizes, *style)
    return encoder, GrammarDecoder(language.num_places, num_rules, sizes, *style)


def _check(
    channels: tuple[int, ...],
    kernel_sizes: tuple[int, ...],
    decoder_sizes: tuple[int, ...],
    num_places: int,
) -> None:
    """Checks that the layers fit each other and the sequences."""
    if len(channels) != len(kernel_sizes):
        raise UsageError(
            f"model.channels {channels} and model.kernel_sizes {kernel_sizes} must have one entry"
            " for each convolution"
        )
    if num_places <= sum(kernel_sizes) - len(kernel_sizes):
        raise UsageError(
            f"convolutions with lengths {kernel_sizes} leave nothing of {num_places} places; set"
            " smaller model.kernel_sizes, or a larger data.max_length"
        )
    if not decoder_sizes:
        raise UsageError(
            "model 'grammar' requires a recurrent layer, such as model.decoder_sizes=(100,)"
        )


GRAMMAR = ModelSpec(
    name="grammar",
    summary="the convolutions and recurrent units of GrammarVAE",
    networks=networks,
    sizes="sequences without values",
    of_sequences=True,
    batch_norm="optional",
    options=("channels", "kernel_sizes", "batch_norm"),
)
