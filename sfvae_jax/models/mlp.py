"""Fully connected encoder and decoder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.models.heads import PosteriorHead

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "elu": nn.elu,
}


def _uniform_fan_in(scale: float) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(scale, "fan_in", "uniform")


INITIALIZERS: dict[str, nn.initializers.Initializer] = {
    "lecun_normal": nn.initializers.lecun_normal(),
    "he_normal": nn.initializers.he_normal(),
    "glorot_uniform": nn.initializers.glorot_uniform(),  # TensorFlow's default
    # What a PyTorch Linear layer draws its weights from: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    "torch_uniform": _uniform_fan_in(1.0 / 3.0),
}


class Mlp(nn.Module):
    """Dense layers with an activation between them; the last one is linear."""

    sizes: Sequence[int]
    activation: str = "relu"
    initializer: str = "lecun_normal"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., in] -> [..., sizes[-1]]."""
        for i, size in enumerate(self.sizes):
            x = nn.Dense(size, kernel_init=INITIALIZERS[self.initializer])(x)
            if i < len(self.sizes) - 1:
                x = ACTIVATIONS[self.activation](x)
        return x


class MlpVae(nn.Module):
    """Encoder n - hidden sizes - posterior, and the reverse as decoder.

    Attributes:
        data_shape: shape of one example; n is its number of elements, and its last axis holds the
            channels of an image.
        head: what makes a posterior of the encoder's output.
        likelihood: what `decode` gives: "gaussian" the mean, "bernoulli" the logits,
            "heteroscedastic_gaussian" mean and variance, "discretized_logistic" location and one
            log scale a channel.
        hidden_sizes: of the encoder, from the data inwards.
        activation: a key of `ACTIVATIONS`.
        initializer: of the kernels, a key of `INITIALIZERS`; biases start at zero.
        latent_scale: the code is multiplied by it after the encoder and divided before the decoder
            (BACK Figure 8).
    """

    data_shape: Sequence[int]
    head: PosteriorHead
    likelihood: str = "gaussian"
    hidden_sizes: Sequence[int] = (512, 256)
    activation: str = "relu"
    initializer: str = "lecun_normal"
    latent_scale: float = 1.0

    def setup(self) -> None:
        """Defines the networks."""
        hidden, n = tuple(self.hidden_sizes), math.prod(self.data_shape)
        outputs = 2 * n if self.likelihood == "heteroscedastic_gaussian" else n
        self.encoder = Mlp((*hidden, self.head.num_outputs), self.activation, self.initializer)
        self.decoder = Mlp((*hidden[::-1], outputs), self.activation, self.initializer)
        if self.likelihood == "discretized_logistic":
            channels = self.data_shape[-1] if len(self.data_shape) == 3 else 1
            # The network of GAPS Table 9 for the scales.
            self.decoder_scales = Mlp((64, 32, channels), "elu", self.initializer)

    def encode(self, x: Array) -> Any:
        """q(z|x) of one example shaped `data_shape`."""
        posterior = self.head(self.encoder(x.ravel()))
        return dataclasses.replace(posterior, mean=self.latent_scale * posterior.mean)

    def decode(self, z: Array) -> Any:
        """Parameters of p(x|z) for one latent [m]."""
        z = z / self.latent_scale
        out, shape = self.decoder(z), tuple(self.data_shape)
        if self.likelihood == "heteroscedastic_gaussian":
            mean, raw = jnp.split(out, 2)
            return mean.reshape(shape), jnp.square(nn.softplus(raw)).reshape(shape)
        if self.likelihood == "discretized_logistic":
            # Shifted so that a fresh scale is some 35 of 256 levels, not all of them.
            return out.reshape(shape), self.decoder_scales(z) - 2.0
        return out.reshape(shape)

    def __call__(self, x: Array) -> Any:
        """Decodes the posterior mean; initialises all networks."""
        return self.decode(self.encode(x).mean)


def count_parameters(params: dict) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
