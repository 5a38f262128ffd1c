"""The convolutional networks with BatchNorm and ELU of Cremer et al. (GAPS Table 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import ml_collections
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.models.convolutional.conv import sets_first
from sfvae_jax.models.convolutional.conv_bn import ConvBnEncoder, normalize
from sfvae_jax.models.lowering.convolution import Convolution
from sfvae_jax.models.mlp import INITIALIZERS
from sfvae_jax.models.spec import Axes, ModelSpec

CHANNELS = (64, 128, 256)
KERNEL_SIZE = 4


class ConvEluDecoder(nn.Module):
    """A dense layer to a small image, and transposed convolutions of stride 2, the last one linear.

    ELU follows the dense layer; BatchNorm and ELU follow each convolution but the last.

    Attributes:
        first_shape: [h, w] of the small image.
        num_outputs: channels of the image.
        channels: channels of the encoder, from the image to the latent.
        kernel_size: size of the kernels.
        initializer: how the kernels are initialised, a key of `INITIALIZERS`.
        lowering: how convolutions are computed, one of `LOWERINGS`.
        multiple: number of images that the decoder gives.
    """

    first_shape: Sequence[int]
    num_outputs: int
    channels: Sequence[int] = CHANNELS
    kernel_size: int = KERNEL_SIZE
    initializer: str = "lecun_normal"
    lowering: str = "auto"
    multiple: int = 1

    @nn.compact
    def __call__(self, z: Array, axes: Axes = None) -> Array:
        """Maps [m] to [multiple, H, W, num_outputs]; `axes` as in `normalize`."""
        init = INITIALIZERS[self.initializer]
        shared: dict[str, Any] = {
            "transposed": True,
            "lowering": self.lowering,
            "kernel_init": init,
        }
        first, *others = self.channels[::-1]
        height, width = self.first_shape
        x = nn.elu(nn.Dense(height * width * first, kernel_init=init)(z))
        x = x.reshape(height, width, first)
        for channels in others:
            x = Convolution(channels, self.kernel_size, 2, use_bias=False, **shared)(x)
            x = nn.elu(normalize(x, axes))
        x = Convolution(self.multiple * self.num_outputs, self.kernel_size, 2, **shared)(x)
        return sets_first(x, self.multiple)


def networks(
    config: ml_collections.ConfigDict, data_shape: Sequence[int], num_outputs: int, multiple: int
) -> tuple[nn.Module, nn.Module]:
    """Makes an encoder and a decoder of L convolutions for images whose sides are multiples of 2^L.

    The decoder begins with an image of H / 2^L by W / 2^L pixels, which is 4 x 4 for CIFAR-10.
    Table 9 prints 2 x 2, from which three convolutions would only reach 16 x 16. The sigmoid of
    Table 9 is the link of the discretised logistic likelihood.

    Args:
        config: the group `model`; it reads channels, kernel_size, activation (which must be elu),
            initializer and lowering.
        data_shape: [H, W, C] of one example.
        num_outputs: number of outputs of the encoder.
        multiple: number of values that the likelihood takes for each element of an example.

    Raises:
        UsageError: if the images have another size, or the activation is not elu.
    """
    if config.activation != "elu":
        raise UsageError(
            f"model 'conv_elu' requires model.activation=elu, got {config.activation!r}"
        )
    channels = tuple(config.channels) or CHANNELS
    factor = 2 ** len(channels)
    if len(data_shape) != 3 or data_shape[0] % factor or data_shape[1] % factor:
        found = " x ".join(map(str, data_shape))
        raise UsageError(
            f"model 'conv_elu' with {len(channels)} convolutions requires images whose sides are"
            f" multiples of {factor}, got {found}; pad (data.pad_to) or resize (data.image_size)"
            " them"
        )
    kernel_size, init = config.kernel_size or KERNEL_SIZE, config.initializer
    encoder = ConvBnEncoder(num_outputs, channels, kernel_size, "elu", init, config.lowering)
    first_shape = (data_shape[0] // factor, data_shape[1] // factor)
    style = (channels, kernel_size, init, config.lowering)
    return encoder, ConvEluDecoder(first_shape, data_shape[-1], *style, multiple)


CONV_ELU = ModelSpec(
    name="conv_elu",
    summary="the convolutions with BatchNorm and ELU of GAPS",
    networks=networks,
    sizes="images whose sides are multiples of 8; each entry of model.channels doubles it",
    batch_norm="yes",
    options=("channels", "kernel_size"),
)
