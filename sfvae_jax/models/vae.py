"""Encoder and decoder around one latent: posterior on one side, likelihood on the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sfvae_jax.models.heads import PosteriorHead
from sfvae_jax.models.mlp import Axes, Mlp

# How many numbers a likelihood takes of the decoder for every element of an example.
MULTIPLES = {"heteroscedastic_gaussian": 2}

# Of the mean of a Gaussian; None: the identity.
OUTPUT_ACTIVATIONS: dict[str, Callable[[Array], Array] | None] = {
    "identity": None,
    "sigmoid": nn.sigmoid,
}


class Vae(nn.Module):
    """A posterior of an encoder's output, and a likelihood's parameters of a decoder's.

    Attributes:
        data_shape: of one example; the last axis of an image holds its channels.
        head: what makes a posterior of the encoder's output.
        encoder: network from `data_shape` to the head's `num_outputs`.
        decoder: network from [m] to a multiple of `data_shape`, `MULTIPLES` says which.
        likelihood: what `decode` gives: "gaussian" the mean, "bernoulli" the logits,
            "heteroscedastic_gaussian" mean and variance, "discretized_logistic" location,
            in [0, 1] by a sigmoid, and one log scale a channel (GAPS Table 9).
        initializer: of the kernels of that network of log scales.
        latent_scale: the code is multiplied by it after the encoder and divided before the decoder
            (BACK Figure 8).
        output_activation: of the mean of a Gaussian, a key of `OUTPUT_ACTIVATIONS`; other
            likelihoods have links of their own.
    """

    data_shape: Sequence[int]
    head: PosteriorHead
    encoder: nn.Module
    decoder: nn.Module
    likelihood: str = "gaussian"
    initializer: str = "lecun_normal"
    latent_scale: float = 1.0
    output_activation: str = "identity"

    data_dtype = jnp.float32  # of an example
    teacher_forced = False  # whether `decode_given` is anything else than `decode`

    def setup(self) -> None:
        """Defines the network of log scales, where the likelihood has them."""
        if self.likelihood == "discretized_logistic":
            channels = self.data_shape[-1] if len(self.data_shape) == 3 else 1
            # The network of GAPS Table 9 for the scales.
            self.decoder_scales = Mlp((64, 32, channels), "elu", self.initializer)

    def encode(self, x: Array, axes: Axes = None) -> Any:
        """q(z|x) of one example shaped `data_shape`."""
        posterior = self.head(self.encoder(x, axes))
        return dataclasses.replace(posterior, mean=self.latent_scale * posterior.mean)

    def decode(self, z: Array, axes: Axes = None) -> Any:
        """Parameters of p(x|z) for one latent [m]."""
        z = z / self.latent_scale
        out = self.decoder(z, axes).reshape(-1, *self.data_shape)
        if self.likelihood == "discretized_logistic":
            # Shifted so that a fresh scale is some 35 of 256 levels, not all of them.
            return nn.sigmoid(out[0]), self.decoder_scales(z) - 2.0
        activate = OUTPUT_ACTIVATIONS[self.output_activation]
        mean = out[0] if activate is None else activate(out[0])
        if self.likelihood == "heteroscedastic_gaussian":
            return mean, jnp.square(nn.softplus(out[1]))
        return mean

    def decode_given(self, z: Array, x: Array, axes: Axes = None) -> Any:
        """Parameters of p(x|z) for one latent [m] and the example x that they score.

        A decoder that is fed its own output, step by step, is fed x instead (teacher forcing); for
        all others that is `decode`.
        """
        del x
        return self.decode(z, axes)

    def __call__(self, x: Array) -> Any:
        """Decodes the posterior mean; initialises all networks."""
        return self.decode(self.encode(x).mean)
