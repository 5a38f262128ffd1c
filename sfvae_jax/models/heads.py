"""The head of an encoder, which turns the output of its last layer into a posterior."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
from jax import Array

from sfvae_jax.posteriors import POSTERIORS, Code

_OF_FLAX = ("parent", "name")  # fields of every module


class PosteriorHead(nn.Module):
    """Makes q(z|x) from the `num_outputs` numbers that an encoder returns.

    The parts of a posterior that all examples share, such as the networks of a flow, are parameters
    of this module.

    Attributes:
        family: the name of a posterior, a key of `POSTERIORS`.
        latent_size: m.
        variance: variance of every dimension, for the family "constant".
        stddev: the function from an output to a standard deviation, a key of `posteriors.STDDEVS`.
        num_flows: number of steps of a flow.
        hidden_sizes: hidden layers of a flow's networks.
        context_size: number of the encoder's outputs that the networks of IAF and the auxiliary
            flow see.
        amortized_flow: whether the encoder returns the parameters u, w and b of planar flows for
            each example; otherwise all examples share them (FLOW Eq. 26).
        reverse_sizes: hidden layers of the auxiliary flow's network for r(v|z); None means
            hidden_sizes.
        auxiliary_start: the distribution of the auxiliary flow's v_0, one of
            `posteriors.AUXILIARY_STARTS`.
        own_options: values of the options that the family adds, by their names.
    """

    family: str
    latent_size: int
    variance: float = 1.0
    stddev: str = "exp"
    num_flows: int = 2
    hidden_sizes: Sequence[int] = (100, 100)
    context_size: int = 32
    amortized_flow: bool = True
    reverse_sizes: Sequence[int] | None = None
    auxiliary_start: str = "conditional"
    own_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

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
        """The options of the family, with those that it adds itself."""
        if not self.own_options:
            return self
        names = [f.name for f in dataclasses.fields(self) if f.name not in _OF_FLAX]
        return SimpleNamespace(**{name: getattr(self, name) for name in names}, **self.own_options)
