"""Recurrent networks for sequences: a bidirectional LSTM encodes, an autoregressive LSTM decodes.

The decoder is that of FLOW Section 4.1, which does not describe an encoder. At each place, the
input of an LSTM is the one-hot vector of the rule there, which is zero for padding. In sequences
with values, the value follows. This makes d = K - 1 numbers, or K with values, where K - 1 is the
number of rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Derivation, Language, RuleTables
from sfvae_jax.likelihoods import SequenceLikelihood
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS
from sfvae_jax.models.spec import Axes, ModelSpec

VALUE_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"sigmoid": nn.sigmoid, "relu": nn.relu}
# The range of the values that each activation can give.
VALUE_RANGES = {"sigmoid": (0.0, 1.0), "relu": (0.0, math.inf)}

# The logit of the padding, for which the network has no output and which no likelihood scores.
PADDING_LOGIT = -1e9


def inputs_of(x: Array, num_rules: int) -> Array:
    """Returns the inputs of an LSTM for an example.

    Args:
        x: indices [T], or indices and values [T, 2].
        num_rules: K - 1, which is also the index of the padding.

    Returns:
        Inputs, [T, d].
    """
    one_hot = jax.nn.one_hot(_indices(x), num_rules)  # zero for the padding
    return one_hot if x.ndim == 1 else jnp.concatenate([one_hot, x[:, 1:]], axis=-1)


def _indices(x: Array) -> Array:
    return x if x.ndim == 1 else x[:, 0].astype(jnp.int32)


class RecurrentEncoder(nn.Module):
    """A bidirectional LSTM, whose two last states are the input of dense layers.

    The LSTM reads a sequence up to the first padding.

    Attributes:
        num_outputs: the number of outputs of the last dense layer, which is linear.
        num_rules: K - 1.
        sizes: the width of the LSTM in each direction, then those of the dense layers after it.
        activation: the activation of the dense layers, a key of `ACTIVATIONS`.
        initializer: the initializer of the kernels, a key of `INITIALIZERS`; recurrent kernels
            are initialised as orthogonal matrices.
    """

    num_outputs: int
    num_rules: int
    sizes: Sequence[int]
    activation: str = "relu"
    initializer: str = "lecun_normal"

    @nn.compact
    def __call__(self, x: Array, axes: Axes = None) -> Array:
        """Maps [T] or [T, 2] to [num_outputs]; `axes` is unused."""
        del axes
        init = INITIALIZERS[self.initializer]
        width, *others = self.sizes
        length = jnp.sum(jnp.cumprod(_indices(x) < self.num_rules))
        forward, backward = (
            nn.RNN(nn.OptimizedLSTMCell(width, kernel_init=init, name=name))
            for name in ("forward", "backward")
        )
        both = nn.Bidirectional(forward, backward, return_carry=True)
        inputs = inputs_of(x, self.num_rules)
        # Flax expects a batch and its lengths.
        ((_, ahead), (_, back)), _ = both(inputs[None], seq_lengths=length[None])
        x = jnp.concatenate([ahead[0], back[0]])
        for size in others:
            x = ACTIVATIONS[self.activation](nn.Dense(size, kernel_init=init)(x))
        return nn.Dense(self.num_outputs, kernel_init=init)(x)


class RecurrentDecoder(nn.Module):
    """An LSTM whose input is its own output at the previous place   (FLOW Algorithms 1 and 2).

    Dense layers, the last of which is linear, turn z into the first input x_0 [d] and the LSTM's
    first h and c. At each place a linear layer turns the LSTM's output into logits of the rules
    and a value.

    Attributes:
        num_places: T.
        tables: which of the grammar's K - 1 rules each place allows. The network has no output
            for the padding, whose logit is `PADDING_LOGIT`.
        sizes: the widths of the dense layers but the last, starting at z, then the LSTM's width.
        has_values: whether places have values.
        value_activation: the activation of the values, a key of `VALUE_ACTIVATIONS`.
        activation: the activation of the dense layers, a key of `ACTIVATIONS`.
        initializer: the initializer of the kernels, a key of `INITIALIZERS`; recurrent kernels
            are initialised as orthogonal matrices.
    """

    num_places: int
    tables: RuleTables
    sizes: Sequence[int]
    has_values: bool = False
    value_activation: str = "sigmoid"
    activation: str = "relu"
    initializer: str = "lecun_normal"

    teacher_forced = True

    def setup(self) -> None:
        """Defines the layers, which are used both with teacher forcing and without it."""
        init = INITIALIZERS[self.initializer]
        *inner, width = self.sizes
        size = self.num_rules + self.has_values
        self.inner = [nn.Dense(size, kernel_init=init) for size in inner]
        self.start = nn.Dense(size + 2 * width, kernel_init=init)
        self.cell = nn.OptimizedLSTMCell(width, kernel_init=init)
        self.lstm = nn.RNN(self.cell)
        self.linear = nn.Dense(size, kernel_init=init)

    def __call__(self, z: Array, axes: Axes = None) -> Any:
        """Returns parameters of p(x|z) when fed its own likeliest output   (FLOW Algorithm 2).

        At each place, the likeliest rule is chosen among those that the grammar allows there.
        Therefore `given` returns the same parameters if x is their mode.

        Args:
            z: [m].
            axes: unused; networks with BatchNorm need it.

        Returns:
            Logits [T, K]; with values, a pair of logits and values [T].
        """
        del axes
        return self._run(z)[1]

    def sample(
        self, rng: Array, z: Array, likelihood: SequenceLikelihood, axes: Axes = None
    ) -> tuple[Array, Any]:
        """Draws x from p(x|z); the LSTM is fed what was drawn at the previous place.

        Args:
            rng: the key of the draw.
            z: [m].
            likelihood: its `noise` is added to the parameters, so that their mode is a draw.
            axes: unused; networks with BatchNorm need it.

        Returns:
            x, [T] or [T, 2], and the parameters that `given` returns for this x.
        """
        del axes
        size = self.num_rules + self.has_values
        nothing = self._parameters(jnp.zeros((self.num_places, size)))
        return self._run(z, likelihood.noise(rng, nothing))

    def given(self, z: Array, x: Array, axes: Axes = None) -> Any:
        """Returns parameters of p(x|z) when fed x_0, x[0], ..., x[T - 2]   (FLOW Algorithm 1).

        Args:
            z: [m].
            x: [T], or [T, 2] with values.
            axes: unused; networks with BatchNorm need it.

        Returns:
            Logits [T, K]; with values, a pair of logits and values [T].
        """
        del axes
        first, carry = self._start(z)
        inputs = jnp.concatenate([first[None], inputs_of(x, self.num_rules)[:-1]])
        hidden: Any = self.lstm(inputs, initial_carry=carry)
        return self._parameters(self._outputs(hidden))

    @property
    def num_rules(self) -> int:
        """The number of rules, K - 1."""
        return len(self.tables.left) - 1

    def _run(self, z: Array, noise: Any = None) -> tuple[Array, Any]:
        """Returns the mode of the parameters with noise, and the parameters without it."""

        def place(decoder: RecurrentDecoder, state: tuple, noise: Any) -> tuple:
            carry, given, derivation = state
            carry, hidden = decoder.cell(carry, given)
            parameters = decoder._parameters(decoder._outputs(hidden))
            noisy = parameters if noise is None else jax.tree.map(jnp.add, parameters, noise)
            derivation, x = decoder._decided(derivation, noisy)
            given = inputs_of(x[None], decoder.num_rules)[0]
            return (carry, given, derivation), (x, parameters)

        shared: dict[str, Any] = {"variable_broadcast": "params", "split_rngs": {"params": False}}
        first, carry = self._start(z)
        state = (carry, first, self.tables.begin(self.num_places))
        return nn.scan(place, length=self.num_places, **shared)(self, state, noise)[1]

    def _decided(self, derivation: Derivation, parameters: Any) -> tuple[Derivation, Array]:
        """Decides one more place; returns the derivation and the place, [] or with a value [2]."""
        if not self.has_values:
            return self.tables.choose(derivation, parameters)
        logits, value = parameters
        derivation, rule = self.tables.choose(derivation, logits)
        value = jnp.where(self.tables.brings_on(rule), value, 0.0)
        return derivation, jnp.stack([rule.astype(value.dtype), value])

    def _start(self, z: Array) -> tuple[Array, tuple[Array, Array]]:
        """Returns x_0 [d] and the LSTM's state (c, h)."""
        for layer in self.inner:
            z = ACTIVATIONS[self.activation](layer(z))
        out, width = self.start(z), self.sizes[-1]
        return out[: -2 * width], (out[-width:], out[-2 * width : -width])

    def _outputs(self, hidden: Array) -> Array:
        """Maps [..., width] to [..., d]: logits of the rules, and the value."""
        out = self.linear(hidden)
        logits, values = jnp.split(out, [self.num_rules], axis=-1)
        activated = VALUE_ACTIVATIONS[self.value_activation](values)
        return jnp.concatenate([logits, activated], axis=-1)

    def _parameters(self, outputs: Array) -> Any:
        """Maps [..., d] to logits [..., K], or to a pair of logits and values [...]."""
        logits, values = jnp.split(outputs, [self.num_rules], axis=-1)
        padding = jnp.full_like(logits[..., :1], PADDING_LOGIT)
        logits = jnp.concatenate([logits, padding], axis=-1)
        return (logits, values[..., 0]) if self.has_values else logits


def networks(
    config: ml_collections.ConfigDict, num_outputs: int, language: Language
) -> tuple[nn.Module, nn.Module]:
    """Makes an encoder and a decoder for sequences with or without values.

    Args:
        config: the `model` group: hidden_sizes (the width of the encoder's LSTM, then those of the
            dense layers after it), decoder_sizes (the widths of the dense layers after z, then that
            of the decoder's LSTM; None: the reverse of hidden_sizes), activation, initializer,
            value_activation.
        num_outputs: the number of outputs of the encoder.
        language: the language of the sequences.

    Raises:
        UsageError: if one of the LSTMs has no width.
    """
    inwards = tuple(config.hidden_sizes)
    outwards = inwards[::-1] if config.decoder_sizes is None else tuple(config.decoder_sizes)
    for key, sizes in (("hidden_sizes", inwards), ("decoder_sizes", outwards)):
        if not sizes:
            raise UsageError(
                f"model 'recurrent' has an LSTM on each side; model.{key} must not be ()"
            )
    style = (config.activation, config.initializer)
    encoder = RecurrentEncoder(num_outputs, language.grammar.padding, inwards, *style)
    output = (language.has_values, config.value_activation)
    decoder = RecurrentDecoder(language.num_places, language.tables, outwards, *output, *style)
    return encoder, decoder


RECURRENT = ModelSpec(
    name="recurrent",
    summary="the LSTM decoder of FLOW with a bidirectional LSTM as its encoder",
    networks=networks,
    sizes="sequences with or without values",
    of_sequences=True,
    takes_values=True,
    options=("value_activation",),
)
