"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import ml_collections
from jax import Array

from sfvae_jax.models.lowering.correlation import is_native
from sfvae_jax.models.spec import Axes, ModelSpec
from sfvae_jax.objectives.numerics.rows import product_of_rows

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "elu": nn.elu,
}


def _uniform_fan_in(scale: float) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(scale, "fan_in", "uniform")


INITIALIZERS: dict[str, nn.initializers.Initializer] = {
    "lecun_normal": nn.initializers.lecun_normal(),
    # Kaiming normal as PyTorch draws it; `nn.initializers.he_normal` truncates the distribution.
    "he_normal": nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "glorot_uniform": nn.initializers.glorot_uniform(),  # TensorFlow's default
    # PyTorch draws the weights of a Linear layer so: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    "torch_uniform": _uniform_fan_in(1.0 / 3.0),
}


def _product_of_rows(x: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    """Takes the arguments that `nn.Dense` gives to `jax.lax.dot_general`."""
    return product_of_rows(x, kernel)


class Mlp(nn.Module):
    """Dense layers with an activation between them; the last one is linear.

    Attributes:
        sizes: widths of the layers.
        activation: a key of `ACTIVATIONS`.
        initializer: how the kernels are initialised, a key of `INITIALIZERS`; biases start at zero.
        lowering: how products are computed, one of `LOWERINGS`; here "patches" means products of
            rows.
    """

    sizes: Sequence[int]
    activation: str = "relu"
    initializer: str = "lecun_normal"
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x: Array, axes: Axes = None) -> Array:
        """Maps one example of any shape to [sizes[-1]]; `axes` is unused."""
        init = INITIALIZERS[self.initializer]
        product = None if is_native(self.lowering) else _product_of_rows
        x = x.ravel()
        for i, size in enumerate(self.sizes):
            x = nn.Dense(size, kernel_init=init, dot_general=product)(x)
            if i < len(self.sizes) - 1:
                x = ACTIVATIONS[self.activation](x)
        return x


def networks(
    config: ml_collections.ConfigDict, data_shape: Sequence[int], num_outputs: int, multiple: int
) -> tuple[nn.Module, nn.Module]:
    """Makes a fully connected encoder and decoder.

    The encoder's layers have the widths n, hidden_sizes, num_outputs; the decoder's have m,
    decoder_sizes, multiple n.

    Args:
        config: the group `model`; it reads hidden_sizes, decoder_sizes (None: the reverse of
            hidden_sizes), activation, initializer and lowering.
        data_shape: shape of one example, with n elements.
        num_outputs: number of outputs of the encoder.
        multiple: number of values that the likelihood takes for each element of an example.
    """
    inwards = tuple(config.hidden_sizes)
    style = (config.activation, config.initializer, config.lowering)
    outwards = inwards[::-1] if config.decoder_sizes is None else tuple(config.decoder_sizes)
    encoder = Mlp((*inwards, num_outputs), *style)
    return encoder, Mlp((*outwards, multiple * math.prod(data_shape)), *style)


MLP = ModelSpec(
    name="mlp",
    summary="fully connected layers",
    networks=networks,
    sizes="images of any size",
)
