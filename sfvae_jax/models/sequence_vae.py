"""A VAE of sequences: an encoder and a decoder with one latent between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sfvae_jax.likelihoods import SequenceLikelihood
from sfvae_jax.models.heads import PosteriorHead
from sfvae_jax.models.spec import Axes
from sfvae_jax.posteriors import Code


class SequenceVae(nn.Module):
    """An encoder that returns a posterior, and a decoder that returns logits for each place.

    An example is a derivation with T places, each of which holds one of K indices. Without values
    it is an array of whole numbers [T], and the parameters of p(x|z) are logits [T, K]. With values
    it is float32 [T, 2] with the indices in column 0 and the values in column 1, and the parameters
    are the pair (logits [T, K], values [T]).

    Attributes:
        data_shape: the shape of an example, (T,) or (T, 2).
        head: turns the encoder's output into a posterior.
        encoder: a network that maps (x, axes) to the head's `num_outputs`; x holds plain indices.
        decoder: a network that maps (z, axes) to the parameters of p(x|z). A decoder that is fed
            its own output has `teacher_forced = True` and two more methods: given(z, x, axes) is
            fed x instead, and sample(rng, z, likelihood, axes) is fed what it draws.
        has_values: whether every place has a value besides its index.
        latent_scale: the encoder's code is multiplied by it, and the decoder's input is divided by
            it (BACK Figure 8).
    """

    data_shape: Sequence[int]
    head: PosteriorHead
    encoder: nn.Module
    decoder: nn.Module
    has_values: bool = False
    latent_scale: float = 1.0

    @property
    def data_dtype(self) -> Any:
        """The dtype of an example."""
        return jnp.float32 if self.has_values else jnp.int32

    @property
    def teacher_forced(self) -> bool:
        """Whether `decode_given` differs from `decode`."""
        return getattr(self.decoder, "teacher_forced", False)

    def encode(self, x: Array, axes: Axes = None) -> Code:
        """Returns q(z|x) for one example shaped `data_shape`."""
        posterior = self.head(self.encoder(x, axes))
        return dataclasses.replace(posterior, mean=self.latent_scale * posterior.mean)

    def decode(self, z: Array, axes: Axes = None) -> Any:
        """Returns the parameters of p(x|z) for one latent [m].

        A decoder that is fed its own output is fed the mode at each place.
        """
        return self.decoder(z / self.latent_scale, axes)

    def decode_given(self, z: Array, x: Array, axes: Axes = None) -> Any:
        """Returns the parameters of p(x|z) for one latent [m] that score the example x.

        At each place they depend on z and on the earlier places of x (teacher forcing). If the
        decoder is not fed its own output, they are the same as those of `decode`.
        """
        if self.teacher_forced:
            return self.decoder.given(z / self.latent_scale, x, axes)
        return self.decode(z, axes)

    def sample(
        self, rng: Array, z: Array, likelihood: SequenceLikelihood, axes: Axes = None
    ) -> tuple[Array, Any]:
        """Draws x from p(x|z) for one latent [m], each place given the earlier places.

        Args:
            rng: the key of the draw.
            z: [m].
            likelihood: the likelihood whose parameters the decoder returns.
            axes: names of the axes for BatchNorm, see `Axes`.

        Returns:
            x, [T] or [T, 2], and the parameters that `decode_given` returns for it.
        """
        if self.teacher_forced:
            return self.decoder.sample(rng, z / self.latent_scale, likelihood, axes)
        parameters = self.decode(z, axes)
        return likelihood.sample(rng, parameters), parameters

    def __call__(self, x: Array) -> Any:
        """Decodes the posterior mean with x given; Flax initialises all networks by this call."""
        return self.decode_given(self.encode(x).mean, x)
