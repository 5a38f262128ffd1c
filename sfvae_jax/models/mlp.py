"""Fully connected encoder and decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.posteriors import DiagonalGaussian

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": nn.relu, "tanh": nn.tanh}


def _uniform_fan_in(scale: float) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(scale, "fan_in", "uniform")


INITIALIZERS: dict[str, nn.initializers.Initializer] = {
    "lecun_normal": nn.initializers.lecun_normal(),
    "he_normal": nn.initializers.he_normal(),
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
    """Encoder n - hidden sizes - (m means, m log variances), and its reverse as decoder.

    Attributes:
        data_shape: shape of one example; n is its number of elements.
        latent_size: m.
        hidden_sizes: of the encoder, from the data inwards.
        activation: a key of `ACTIVATIONS`.
        initializer: of the kernels, a key of `INITIALIZERS`; biases start at zero.
    """

    data_shape: Sequence[int]
    latent_size: int
    hidden_sizes: Sequence[int] = (512, 256)
    activation: str = "relu"
    initializer: str = "lecun_normal"

    def setup(self) -> None:
        """Defines the two networks."""
        hidden = tuple(self.hidden_sizes)
        encoder_sizes = (*hidden, 2 * self.latent_size)
        decoder_sizes = (*hidden[::-1], math.prod(self.data_shape))
        self.encoder = Mlp(encoder_sizes, self.activation, self.initializer)
        self.decoder = Mlp(decoder_sizes, self.activation, self.initializer)

    def encode(self, x: Array) -> DiagonalGaussian:
        """q(z|x) of one example shaped `data_shape`."""
        mean, log_variance = jnp.split(self.encoder(x.ravel()), 2)
        return DiagonalGaussian(mean=mean, stddev=jnp.exp(0.5 * log_variance))

    def decode(self, z: Array) -> Array:
        """Mean of p(x|z) for one latent [m], shaped `data_shape`."""
        return self.decoder(z).reshape(tuple(self.data_shape))

    def __call__(self, x: Array) -> Array:
        """Reconstruction at the posterior mean; initialises both networks."""
        return self.decode(self.encode(x).mean)


def count_parameters(params: dict) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
