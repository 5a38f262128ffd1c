"""Encoder and decoder of sequences around one latent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sfvae_jax.models.heads import PosteriorHead
from sfvae_jax.models.mlp import Axes


class SequenceVae(nn.Module):
    """A posterior of an encoder's output, and a decoder's logits of each place of a sequence.

    An example is a derivation of T places, each one of K indices: whole numbers [T], or with values
    float32 [T, 2], the indices first. Parameters of p(x|z) are logits [T, K], with values the pair
    (logits [T, K], values [T]).

    Attributes:
        data_shape: of one example, (T,) or (T, 2).
        head: what makes a posterior of the encoder's output.
        encoder: network (x, axes) -> the head's `num_outputs`; it takes the indices as they are.
        decoder: network (z, axes) -> parameters of p(x|z). One with `teacher_forced = True` feeds
            on its own output; it has methods given(z, x, axes), where it is fed x instead, and
            sample(rng, z, likelihood, axes), where it is fed what is drawn.
        has_values: whether every place has a number besides its index.
        latent_scale: the code is multiplied by it after the encoder and divided before the decoder
            (BACK Figure 8).
    """

    data_shape: Sequence[int]
    head: PosteriorHead
    encoder: nn.Module
    decoder: nn.Module
    has_values: bool = False
    latent_scale: float = 1.0

    @property
    def data_dtype(self) -> Any:
        """Of an example."""
        return jnp.float32 if self.has_values else jnp.int32

    @property
    def teacher_forced(self) -> bool:
        """Whether `decode_given` is anything else than `decode`."""
        return getattr(self.decoder, "teacher_forced", False)

    def encode(self, x: Array, axes: Axes = None) -> Any:
        """q(z|x) of one example shaped `data_shape`."""
        posterior = self.head(self.encoder(x, axes))
        return dataclasses.replace(posterior, mean=self.latent_scale * posterior.mean)

    def decode(self, z: Array, axes: Axes = None) -> Any:
        """Parameters of p(x|z) for one latent [m], whatever x: those of the mode, at each place."""
        return self.decoder(z / self.latent_scale, axes)

    def decode_given(self, z: Array, x: Array, axes: Axes = None) -> Any:
        """Parameters of p(x|z) for one latent [m] and the example x that they score.

        At each place they follow from z and the places of x before it (teacher forcing); of a
        decoder that does not feed on its output they are those of `decode`.
        """
        if self.teacher_forced:
            return self.decoder.given(z / self.latent_scale, x, axes)
        return self.decode(z, axes)

    def sample(self, rng: Array, z: Array, likelihood: Any, axes: Axes = None) -> tuple[Array, Any]:
        """A draw of x from p(x|z) for one latent [m], place by place: each given those before it.

        Args:
            rng: of the draw.
            z: [m].
            likelihood: what the decoder's output means.
            axes: for networks with BatchNorm.

        Returns:
            x, [T] or [T, 2], and its parameters of p(x|z), those of `decode_given`.
        """
        if self.teacher_forced:
            return self.decoder.sample(rng, z / self.latent_scale, likelihood, axes)
        parameters = self.decode(z, axes)
        return likelihood.sample(rng, parameters), parameters

    def __call__(self, x: Array) -> Any:
        """Decodes the posterior mean as x is scored; initialises all networks."""
        return self.decode_given(self.encode(x).mean, x)
