"""The spec of a model, and the methods that the rest of the library calls on a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import flax.linen as nn
from jax import Array

from sfvae_jax.options import Option
from sfvae_jax.posteriors import Code

# Names of the axes over which BatchNorm takes its moments; None: it uses the moments it has.
Axes = tuple[str, ...] | None


class Model(Protocol):
    """A Flax module with an encoder and a decoder around one latent."""

    @property
    def data_dtype(self) -> Any:
        """The dtype of an example."""

    @property
    def teacher_forced(self) -> bool:
        """Whether `decode_given` differs from `decode`."""

    def encode(self, x: Array, axes: Axes = None) -> Code:
        """Returns q(z|x) for one example."""

    def decode(self, z: Array, axes: Axes = None) -> Any:
        """Returns the parameters of p(x|z) for one latent [m]."""

    def decode_given(self, z: Array, x: Array, axes: Axes = None) -> Any:
        """Returns the parameters of p(x|z) for one latent [m] that score the example x."""

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Initialises the variables, as `flax.linen.Module.init` does."""

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Applies a method with these variables, as `flax.linen.Module.apply` does."""


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """An encoder and a decoder network, under the name that configurations use.

    Attributes:
        name: the value of `model.name`.
        summary: what the model is and where it comes from, in one line.
        networks: makes the encoder and the decoder. For images its arguments are the group
            `model`, the shape of an example, the number of the encoder's outputs, and the number
            of values that the likelihood takes for each element. For sequences its arguments are
            the group `model`, the number of the encoder's outputs, and the language.
        sizes: which examples the model accepts, in words.
        of_sequences: whether the examples are sequences instead of images.
        takes_values: whether the sequences may have values.
        batch_norm: whether it has BatchNorm, in words that begin with yes, no or optional.
        options: the options of the group `model` that this model has and not every model has. A
            model without such an option requires its default.
        own_options: options that it adds to the group `model`.
    """

    name: str
    summary: str
    networks: Callable[..., tuple[nn.Module, nn.Module]]
    sizes: str
    of_sequences: bool = False
    takes_values: bool = False
    batch_norm: str = "no"
    options: tuple[str, ...] = ()
    own_options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
