"""A VAE of images: an encoder and a decoder with one latent between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sfvae_jax.likelihoods import LIKELIHOODS, LikelihoodSpec
from sfvae_jax.models.heads import PosteriorHead
from sfvae_jax.models.mlp import Mlp
from sfvae_jax.models.spec import Axes
from sfvae_jax.posteriors import Code

# Activations of the mean that a decoder of images gives; None for the identity.
OUTPUT_ACTIVATIONS: dict[str, Callable[[Array], Array] | None] = {
    "identity": None,
    "sigmoid": nn.sigmoid,
}

_SCALE_SIZES = (64, 32)  # hidden layers of the network of scales (GAPS Table 9)


class Vae(nn.Module):
    """Turns an encoder's output into a posterior, and a decoder's output into p(x|z).

    Attributes:
        data_shape: shape of one example; the last axis of an image holds its channels.
        head: makes a posterior from the encoder's output.
        encoder: network from `data_shape` to the head's `num_outputs`.
        decoder: network from [m] to n arrays of `data_shape`, if the likelihood takes n numbers
            for each element of an example.
        likelihood: the name of the likelihood whose parameters `decode` returns, a key of
            `LIKELIHOODS`.
        initializer: how the kernels of the network of scales are initialised, if the likelihood
            has such a network.
        latent_scale: the code is multiplied by it after the encoder and divided by it before the
            decoder (BACK Figure 8).
        output_activation: activation of the mean, a key of `OUTPUT_ACTIVATIONS`; it only applies
            to likelihoods whose spec has `activates_mean`.
    """

    data_shape: Sequence[int]
    head: PosteriorHead
    encoder: nn.Module
    decoder: nn.Module
    likelihood: str = "gaussian"
    initializer: str = "lecun_normal"
    latent_scale: float = 1.0
    output_activation: str = "identity"

    data_dtype = jnp.float32  # dtype of an example
    teacher_forced = False  # `decode_given` is `decode`

    @property
    def likelihood_spec(self) -> LikelihoodSpec:
        """The spec of the likelihood: what it needs from the decoder."""
        return LIKELIHOODS[self.likelihood]

    def setup(self) -> None:
        """Defines the network of scales, if the likelihood has one."""
        num_scales = self.likelihood_spec.num_scales(self.data_shape)
        if num_scales:
            self.decoder_scales = Mlp((*_SCALE_SIZES, num_scales), "elu", self.initializer)

    def encode(self, x: Array, axes: Axes = None) -> Code:
        """Returns q(z|x) for one example shaped `data_shape`."""
        posterior = self.head(self.encoder(x, axes))
        return dataclasses.replace(posterior, mean=self.latent_scale * posterior.mean)

    def decode(self, z: Array, axes: Axes = None) -> Any:
        """Returns the parameters of p(x|z) for one latent [m]."""
        spec, z = self.likelihood_spec, z / self.latent_scale
        outputs = self.decoder(z, axes).reshape(-1, *self.data_shape)
        scales = self.decoder_scales(z) if spec.num_scales(self.data_shape) else None
        activate = OUTPUT_ACTIVATIONS[self.output_activation] or _identity
        assert spec.link is not None  # only likelihoods of sequences have no link
        return spec.link(outputs, activate, scales)

    def decode_given(self, z: Array, x: Array, axes: Axes = None) -> Any:
        """Returns the parameters of p(x|z) for one latent [m] that score the example x.

        A decoder of images does not see x, so this is the same as `decode`. Only a decoder of
        sequences may be fed x instead of its own output (teacher forcing).
        """
        del x
        return self.decode(z, axes)

    def __call__(self, x: Array) -> Any:
        """Decodes the posterior mean; Flax initialises all networks by this call."""
        return self.decode(self.encode(x).mean)


def _identity(x: Array) -> Array:
    return x
