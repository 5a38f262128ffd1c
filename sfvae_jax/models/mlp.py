"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import ml_collections
from jax import Array

from sfvae_jax.models.correlation import correlate, is_native

# Names of the axes over which BatchNorm takes its moments; None: it uses those that it is given.
Axes = tuple[str, ...] | None

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "elu": nn.elu,
}


def _uniform_fan_in(scale: float) -> nn.initializers.Initializer:
    return nn.initializers.variance_scaling(scale, "fan_in", "uniform")


INITIALIZERS: dict[str, nn.initializers.Initializer] = {
    "lecun_normal": nn.initializers.lecun_normal(),
    # Kaiming normal as PyTorch draws it; `nn.initializers.he_normal` cuts its tails off.
    "he_normal": nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "glorot_uniform": nn.initializers.glorot_uniform(),  # TensorFlow's default
    # What a PyTorch Linear layer draws its weights from: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    "torch_uniform": _uniform_fan_in(1.0 / 3.0),
}


def _product_of_rows(x: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    """x [h] times a kernel [h, k], as `nn.Dense` asks for it: a correlation of one pixel.

    Under `jax.vmap` twice, over examples and tangents, the kernel's gradient is then one
    contraction over rows and not one over two axes, for which XLA's CPU backend transposes an
    operand.
    """
    return correlate(x.reshape(1, 1, 1, -1), kernel[None, None], full=False).ravel()


class Mlp(nn.Module):
    """Dense layers with an activation between them; the last one is linear.

    Attributes:
        sizes: of the layers.
        activation: a key of `ACTIVATIONS`.
        initializer: of the kernels, a key of `INITIALIZERS`; biases start at zero.
        lowering: how products are computed; "patches" is here a product of rows.
    """

    sizes: Sequence[int]
    activation: str = "relu"
    initializer: str = "lecun_normal"
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x: Array, axes: Axes = None) -> Array:
        """One example of any shape -> [sizes[-1]]; `axes` is for networks with BatchNorm."""
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
    """Encoder n - hidden_sizes - num_outputs, decoder m - decoder_sizes - multiple n.

    Args:
        config: the `model` group: hidden_sizes, decoder_sizes (None: the reverse of these),
            activation, initializer, lowering.
        data_shape: of one example; n is its number of elements.
        num_outputs: of the encoder.
        multiple: how many numbers the likelihood needs for an element.
    """
    inwards = tuple(config.hidden_sizes)
    style = (config.activation, config.initializer, config.lowering)
    outwards = inwards[::-1] if config.decoder_sizes is None else tuple(config.decoder_sizes)
    encoder = Mlp((*inwards, num_outputs), *style)
    return encoder, Mlp((*outwards, multiple * math.prod(data_shape)), *style)
