"""The networks of the GrammarVAE (Kusner et al. 2017) for sequences of rules or characters.

Convolutions over the places of a sequence lead to the latent, gated recurrent units from it. The
decoder does not see what was decided before: it is the grammar that makes sentences of its logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Language
from sfvae_jax.models.conv_bn import normalize
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS, Axes


class Sizes(NamedTuple):
    """Of the layers besides the dense ones.

    Attributes:
        channels: filters of the encoder's convolutions.
        kernel_sizes: their lengths, in places.
        decoder_sizes: units of the decoder's recurrent layers.
    """

    channels: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    decoder_sizes: tuple[int, ...]


# As the authors released them for expressions and molecules; their dense layers have 100 and 435
# units.
_DEFAULT = Sizes((2, 3, 4), (2, 3, 4), (100, 100, 100))
_RELEASED = {
    "equations": _DEFAULT,
    "molecules": Sizes((9, 9, 10), (9, 9, 11), (501, 501, 501)),
}


class GrammarEncoder(nn.Module):
    """Convolutions over the places of a sequence, without padding, and dense layers.

    Attributes:
        num_rules: indices that a place may hold, K.
        num_outputs: of the last layer, which is linear.
        channels: filters of the convolutions.
        kernel_sizes: their lengths, one each.
        hidden_sizes: of the dense layers before the last.
        activation: after each layer but the last, a key of `ACTIVATIONS`.
        initializer: of the kernels, a key of `INITIALIZERS`.
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
        """Indices [T] -> [num_outputs]; `axes` as in `conv_bn.normalize`."""
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
    """A dense layer as wide as the latent, the same at all places, recurrent layers, and logits.

    Attributes:
        num_places: T.
        num_rules: indices that a place may hold, K.
        sizes: units of the recurrent layers (GRU), each of which sees the whole one before.
        activation: of the first dense layer, a key of `ACTIVATIONS`.
        initializer: of the kernels, a key of `INITIALIZERS`; those from a recurrent layer to
            itself start orthogonal.
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
        """[m] -> logits [T, K]; `axes` as in `conv_bn.normalize`."""
        init = INITIALIZERS[self.initializer]
        if self.batch_norm:
            z = normalize(z, axes)
        x = ACTIVATIONS[self.activation](nn.Dense(z.size, kernel_init=init)(z))
        x = jnp.broadcast_to(x, (self.num_places, x.size))
        for size in self.sizes:
            x = nn.RNN(nn.GRUCell(size, kernel_init=init))(x)
        return nn.Dense(self.num_rules, kernel_init=init)(x)


def networks(
    config: ml_collections.ConfigDict, num_outputs: int, language: Language
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for sequences; the released sizes of equations or molecules by default.

    The released model of expressions has BatchNorm, that of molecules none.

    Args:
        config: the `model` group: channels and kernel_sizes (empty: the released ones),
            hidden_sizes, decoder_sizes (None: the released ones), activation, initializer,
            batch_norm.
        num_outputs: of the encoder.
        language: of the sequences.

    Raises:
        UsageError: if the layers do not fit the sequences.
    """
    released = _RELEASED.get(language.kind, _DEFAULT)
    channels = tuple(config.channels) or released.channels
    kernel_sizes = tuple(config.kernel_sizes) or released.kernel_sizes
    sizes = config.decoder_sizes
    sizes = released.decoder_sizes if sizes is None else tuple(sizes)
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
    """Refuses layers that do not fit each other or the sequences."""
    if len(channels) != len(kernel_sizes):
        raise UsageError(
            f"model.channels {channels} and model.kernel_sizes {kernel_sizes} must be as many:"
            " filters and length of each convolution"
        )
    if num_places <= sum(kernel_sizes) - len(kernel_sizes):
        raise UsageError(
            f"convolutions of the lengths {kernel_sizes} leave nothing of {num_places} places; set"
            " smaller model.kernel_sizes, or a larger data.max_length"
        )
    if not decoder_sizes:
        raise UsageError(
            "model 'grammar' needs a recurrent layer, such as model.decoder_sizes=(100,)"
        )
