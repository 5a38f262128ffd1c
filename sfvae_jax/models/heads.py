"""The head of an encoder, which turns the output of its last layer into a posterior."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
from flax.core import FrozenDict
from jax import Array

from sfvae_jax.posteriors import POSTERIORS, Code
from sfvae_jax.posteriors.options import option_group


class PosteriorHead(nn.Module):
    """Makes q(z|x) from the `num_outputs` numbers that an encoder returns.

    The parts of a posterior that all examples share, such as the networks of a flow, are parameters
    of this module.

    Attributes:
        family: the name of a posterior, a key of `POSTERIORS`.
        latent_size: m.
        options: values of options of the group `posterior`, by their names; other options have
            their defaults.
    """

    family: str
    latent_size: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Freezes the options, since a module is hashed wherever it is a static argument."""
        self.options = FrozenDict(self.options)
        super().__post_init__()

    @property
    def num_outputs(self) -> int:
        """The number of outputs that the encoder must have."""
        return POSTERIORS[self.family].num_outputs(self._settings)

    @nn.compact
    def __call__(self, raw: Array) -> Code:
        """Makes a posterior from the encoder's output, [num_outputs]."""
        return POSTERIORS[self.family].build(self._settings, raw, self.param)

    @property
    def _settings(self) -> Any:
        defaults = {name: option.default for name, option in option_group().items()}
        return SimpleNamespace(**{**defaults, **self.options, "latent_size": self.latent_size})
