"""Recurrent networks of sequences: bidirectional LSTM, autoregressive LSTM.

The second decodes (FLOW Section 4.1); the first encodes, of which FLOW says nothing.
An input of an LSTM is one place of a sequence: one-hot of its rule, zeros of padding, and its value
where there are values; d = K - 1 or K numbers, K - 1 the rules.
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
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS, Axes

VALUE_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"sigmoid": nn.sigmoid, "relu": nn.relu}
VALUE_RANGES = {"sigmoid": (0.0, 1.0), "relu": (0.0, math.inf)}
"""Least and greatest value that each can give."""

PADDING_LOGIT = -1e9
"""Of every place: a network that gives no output for the padding, which no likelihood scores."""


def inputs_of(x: Array, num_rules: int) -> Array:
    """What an LSTM sees of an example.

    Args:
        x: [T] of indices, or [T, 2] of indices and values.
        num_rules: K - 1, and the index of the padding.

    Returns:
        [T, d].
    """
    one_hot = jax.nn.one_hot(_indices(x), num_rules)  # that of the padding is zero
    return one_hot if x.ndim == 1 else jnp.concatenate([one_hot, x[:, 1:]], axis=-1)


def _indices(x: Array) -> Array:
    return x if x.ndim == 1 else x[:, 0].astype(jnp.int32)


class RecurrentEncoder(nn.Module):
    """A bidirectional LSTM up to the first padding, and dense layers of both last states.

    Attributes:
        num_outputs: of the last dense layer, which is linear.
        num_rules: K - 1.
        sizes: width of the LSTM in each direction, then of the dense layers after it.
        activation: of these, a key of `ACTIVATIONS`.
        initializer: of the kernels, a key of `INITIALIZERS`; recurrent ones are orthogonal.
    """

    num_outputs: int
    num_rules: int
    sizes: Sequence[int]
    activation: str = "relu"
    initializer: str = "lecun_normal"

    @nn.compact
    def __call__(self, x: Array, axes: Axes = None) -> Array:
        """[T] or [T, 2] -> [num_outputs]; `axes` is for networks with BatchNorm."""
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
        # Flax takes lengths of a batch.
        ((_, ahead), (_, back)), _ = both(inputs[None], seq_lengths=length[None])
        x = jnp.concatenate([ahead[0], back[0]])
        for size in others:
            x = ACTIVATIONS[self.activation](nn.Dense(size, kernel_init=init)(x))
        return nn.Dense(self.num_outputs, kernel_init=init)(x)


class RecurrentDecoder(nn.Module):
    """An LSTM that is fed what it gave at the place before   (FLOW Algorithms 1 and 2).

    Dense layers of z, the last one linear, give x_0 [d] and the LSTM's first h and c; at each place
    an element-wise linear layer makes logits of the rules and a value of the LSTM's output.

    Attributes:
        num_places: T.
        tables: what the grammar of the K - 1 rules allows; there is no output for the padding,
            whose logit is `PADDING_LOGIT`.
        sizes: of the dense layers before the last, from z outwards, then width of the LSTM.
        has_values: whether places have values.
        value_activation: of the values, a key of `VALUE_ACTIVATIONS`.
        activation: of the dense layers, a key of `ACTIVATIONS`.
        initializer: of the kernels, a key of `INITIALIZERS`; recurrent ones are orthogonal.
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
        """Defines the layers, which free running and teacher forcing share."""
        init = INITIALIZERS[self.initializer]
        *inner, width = self.sizes
        size = self.num_rules + self.has_values
        self.inner = [nn.Dense(size, kernel_init=init) for size in inner]
        self.start = nn.Dense(size + 2 * width, kernel_init=init)
        self.cell = nn.OptimizedLSTMCell(width, kernel_init=init)
        self.lstm = nn.RNN(self.cell)
        self.linear = nn.Dense(size, kernel_init=init)

    def __call__(self, z: Array, axes: Axes = None) -> Any:
        """Parameters of p(x|z), fed its own likeliest rules and its values   (FLOW Algorithm 2).

        The likeliest rule is that of those that the grammar allows after the ones before it, so
        that these are the parameters of `given` for the mode that they have.

        Args:
            z: [m].
            axes: for networks with BatchNorm.

        Returns:
            Logits [T, K], or these and values [T].
        """
        del axes
        return self._run(z)[1]

    def sample(self, rng: Array, z: Array, likelihood: Any, axes: Axes = None) -> tuple[Array, Any]:
        """A draw of x from p(x|z), each place fed the draw of the one before it.

        Args:
            rng: of the draw.
            z: [m].
            likelihood: whose `noise` on the parameters makes their mode a draw.
            axes: for networks with BatchNorm.

        Returns:
            x, [T] or [T, 2], and what `given` makes of it: logits [T, K], or these and values [T].
        """
        del axes
        size = self.num_rules + self.has_values
        nothing = self._parameters(jnp.zeros((self.num_places, size)))
        return self._run(z, likelihood.noise(rng, nothing))

    def given(self, z: Array, x: Array, axes: Axes = None) -> Any:
        """Parameters of p(x|z), fed x_0, x[0], ..., x[T - 2]   (FLOW Algorithm 1).

        Args:
            z: [m].
            x: [T], or [T, 2] with values.
            axes: for networks with BatchNorm.

        Returns:
            Logits [T, K], or these and values [T].
        """
        del axes
        first, carry = self._start(z)
        inputs = jnp.concatenate([first[None], inputs_of(x, self.num_rules)[:-1]])
        return self._parameters(self._outputs(self.lstm(inputs, initial_carry=carry)))

    @property
    def num_rules(self) -> int:
        """K - 1."""
        return len(self.tables.left) - 1

    def _run(self, z: Array, noise: Any = None) -> tuple[Array, Any]:
        """The mode of the parameters with noise, place by place, and the parameters without."""

        def place(decoder: RecurrentDecoder, state: tuple, noise: Any) -> tuple:
            carry, given, derivation = state
            carry, hidden = decoder.cell(carry, given)
            parameters = decoder._parameters(decoder._outputs(hidden))
            noisy = parameters if noise is None else jax.tree.map(jnp.add, parameters, noise)
            derivation, x = decoder._decided(derivation, noisy)
            given = inputs_of(x[None], decoder.num_rules)[0]
            return (carry, given, derivation), (x, parameters)

        shared = {"variable_broadcast": "params", "split_rngs": {"params": False}}
        first, carry = self._start(z)
        state = (carry, first, self.tables.begin(self.num_places))
        return nn.scan(place, length=self.num_places, **shared)(self, state, noise)[1]

    def _decided(self, derivation: Derivation, parameters: Any) -> tuple[Derivation, Array]:
        """The derivation with one more place, and what stands there: [] or, with its value, [2]."""
        if not self.has_values:
            return self.tables.choose(derivation, parameters)
        logits, value = parameters
        derivation, rule = self.tables.choose(derivation, logits)
        value = jnp.where(self.tables.brings_on(rule), value, 0.0)
        return derivation, jnp.stack([rule.astype(value.dtype), value])

    def _start(self, z: Array) -> tuple[Array, tuple[Array, Array]]:
        """x_0 [d] and the LSTM's state (c, h)."""
        for layer in self.inner:
            z = ACTIVATIONS[self.activation](layer(z))
        out, width = self.start(z), self.sizes[-1]
        return out[: -2 * width], (out[-width:], out[-2 * width : -width])

    def _outputs(self, hidden: Array) -> Array:
        """[..., width] -> [..., d]: logits of the rules and the value."""
        out = self.linear(hidden)
        logits, values = jnp.split(out, [self.num_rules], axis=-1)
        activated = VALUE_ACTIVATIONS[self.value_activation](values)
        return jnp.concatenate([logits, activated], axis=-1)

    def _parameters(self, outputs: Array) -> Any:
        """[..., d] -> logits [..., K], or these and values [...]."""
        logits, values = jnp.split(outputs, [self.num_rules], axis=-1)
        padding = jnp.full_like(logits[..., :1], PADDING_LOGIT)
        logits = jnp.concatenate([logits, padding], axis=-1)
        return (logits, values[..., 0]) if self.has_values else logits


def networks(
    config: ml_collections.ConfigDict, num_outputs: int, language: Language
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of sequences, with values or without.

    Args:
        config: the `model` group: hidden_sizes (width of the encoder's LSTM, then of the dense
            layers after it), decoder_sizes (of the dense layers after z, then width of the
            decoder's LSTM; None: the reverse of hidden_sizes), activation, initializer,
            value_activation.
        num_outputs: of the encoder.
        language: of the sequences.

    Raises:
        UsageError: if there is no width for one of the LSTMs.
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
