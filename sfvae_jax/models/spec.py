"""What a model says about itself, and what the rest of the library may ask of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
from jax import Array

from sfvae_jax.posteriors import Code

Axes = tuple[str, ...] | None
"""Names of the axes over which BatchNorm takes its moments; None: it uses the moments it has."""


class Model(Protocol):
    """A Flax module with an encoder and a decoder around one latent."""

    @property
    def data_dtype(self) -> Any:
        """The dtype of an example."""

    @property
    def teacher_forced(self) -> bool:
        """Whether `decode_given` differs from `decode`."""

    def encode(self, x: Array, axes: Axes = None) -> Code:
        """q(z|x) of one example."""

    def decode(self, z: Array, axes: Axes = None) -> Any:
        """The parameters of p(x|z) for one latent [m]."""

    def decode_given(self, z: Array, x: Array, axes: Axes = None) -> Any:
        """The parameters of p(x|z) for one latent [m] that score the example x."""

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Initialises the variables, as `flax.linen.Module.init`."""

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Applies a method with these variables, as `flax.linen.Module.apply`."""


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A pair of networks, by the name that a configuration gives it.

    Attributes:
        name: the value of `model.name`.
        summary: what it is and where it comes from, in one line.
        networks: makes the encoder and the decoder. For images it takes the group `model`, the
            shape of an example, the number of the encoder's outputs and the number of values that
            the likelihood takes for an element; for sequences the group `model`, the number of the
            encoder's outputs and the language.
        sizes: which examples it takes, in words.
        of_sequences: whether its examples are sequences, not images.
        takes_values: whether the sequences may have values.
        batch_norm: whether it has BatchNorm, in words that begin with yes, no or optional.
        options: options of the group `model` that not every model has. They must keep their
            defaults where the model does not name them.
    """

    name: str
    summary: str
    networks: Callable[..., tuple[nn.Module, nn.Module]]
    sizes: str
    of_sequences: bool = False
    takes_values: bool = False
    batch_norm: str = "no"
    options: tuple[str, ...] = ()
