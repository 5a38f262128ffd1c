"""The convolutional networks of Higgins et al. (2017), for 64 x 64 images (SFVAE Appendix B.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import ml_collections
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.models.lowering.convolution import Convolution
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS
from sfvae_jax.models.spec import Axes, ModelSpec

CHANNELS = (32, 32, 64, 64, 256)
KERNEL_SIZE = 4


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, then a convolution to a single pixel, then a dense layer.

    Attributes:
        num_outputs: width of the dense layer.
        channels: channels of the convolutions.
        kernel_size: size of their kernels, which is also the side of the last one's input.
        activation: the activation after each convolution, a key of `ACTIVATIONS`.
        initializer: how the kernels are initialised, a key of `INITIALIZERS`.
        lowering: how convolutions are computed, one of `LOWERINGS`.
    """

    num_outputs: int
    channels: Sequence[int] = CHANNELS
    kernel_size: int = KERNEL_SIZE
    activation: str = "relu"
    initializer: str = "lecun_normal"
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x: Array, axes: Axes = None) -> Array:
        """Maps [H, W, C] to [num_outputs]; `axes` is unused."""
        del axes
        init = INITIALIZERS[self.initializer]
        shared: dict[str, Any] = {"lowering": self.lowering, "kernel_init": init}
        for channels in self.channels[:-1]:
            x = Convolution(channels, self.kernel_size, 2, **shared)(x)
            x = ACTIVATIONS[self.activation](x)
        x = Convolution(self.channels[-1], self.kernel_size, padding="VALID", **shared)(x)
        x = ACTIVATIONS[self.activation](x)
        return nn.Dense(self.num_outputs, kernel_init=init)(x.ravel())


class ConvDecoder(nn.Module):
    """The layers of `ConvEncoder` in reverse order, with transposed convolutions.

    Attributes:
        num_outputs: channels of the image.
        channels: channels of the encoder, from the image to the latent.
        kernel_size: size of the kernels.
        activation: the activation before each convolution, a key of `ACTIVATIONS`.
        initializer: how the kernels are initialised, a key of `INITIALIZERS`.
        lowering: how convolutions are computed, one of `LOWERINGS`.
        multiple: number of images that the decoder gives.
    """

    num_outputs: int
    channels: Sequence[int] = CHANNELS
    kernel_size: int = KERNEL_SIZE
    activation: str = "relu"
    initializer: str = "lecun_normal"
    lowering: str = "auto"
    multiple: int = 1

    @nn.compact
    def __call__(self, z: Array, axes: Axes = None) -> Array:
        """Maps [m] to [multiple, H, W, num_outputs]."""
        del axes
        init, activate = INITIALIZERS[self.initializer], ACTIVATIONS[self.activation]
        shared: dict[str, Any] = {
            "transposed": True,
            "lowering": self.lowering,
            "kernel_init": init,
        }
        *inner, last = self.channels
        x = nn.Dense(last, kernel_init=init)(z).reshape(1, 1, last)
        padding, stride = "VALID", 1
        for channels in (*inner[::-1], self.multiple * self.num_outputs):
            x = Convolution(channels, self.kernel_size, stride, padding, **shared)(activate(x))
            padding, stride = "SAME", 2
        return sets_first(x, self.multiple)


def sets_first(x: Array, multiple: int) -> Array:
    """Splits the channels into sets: [H, W, multiple C] -> [multiple, H, W, C]."""
    return x.reshape(*x.shape[:2], multiple, -1).transpose(2, 0, 1, 3)


def networks(
    config: ml_collections.ConfigDict, data_shape: Sequence[int], num_outputs: int, multiple: int
) -> tuple[nn.Module, nn.Module]:
    """Makes an encoder and a decoder of L convolutions for square images.

    The images must have kernel_size 2^(L-1) pixels a side.

    Args:
        config: the group `model`; it reads channels, kernel_size, activation, initializer and
            lowering.
        data_shape: [H, W, C] of one example; H = W = 64 for the five layers of the paper.
        num_outputs: number of outputs of the encoder.
        multiple: number of values that the likelihood takes for each element of an example.

    Raises:
        UsageError: if the images have another size.
    """
    channels = tuple(config.channels) or CHANNELS
    kernel_size = config.kernel_size or KERNEL_SIZE
    side = kernel_size * 2 ** (len(channels) - 1)
    if len(data_shape) != 3 or tuple(data_shape[:2]) != (side, side):
        found = " x ".join(map(str, data_shape))
        raise UsageError(
            f"model 'conv' with {len(channels)} convolutions requires images of {side} x {side},"
            f" got {found}; set data.image_size={side}, or other model.channels"
        )
    style = (channels, kernel_size, config.activation, config.initializer, config.lowering)
    return ConvEncoder(num_outputs, *style), ConvDecoder(data_shape[-1], *style, multiple)


CONV = ModelSpec(
    name="conv",
    summary="the convolutions of Higgins et al.",
    networks=networks,
    sizes="square images of 64 pixels a side; each further entry of model.channels doubles it",
    options=("channels", "kernel_size"),
)
