"""The convolutional networks with BatchNorm and ELU of Cremer et al. (GAPS Table 9)."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import ml_collections
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.models.conv import sets_first
from sfvae_jax.models.conv_bn import ConvBnEncoder, normalize
from sfvae_jax.models.convolution import Convolution
from sfvae_jax.models.mlp import INITIALIZERS, Axes

CHANNELS = (64, 128, 256)
KERNEL_SIZE = 4


class ConvEluDecoder(nn.Module):
    """A dense layer to a small image, and transposed convolutions of stride 2, the last one linear.

    ELU follows the dense layer; BatchNorm and ELU follow each convolution but the last.

    Attributes:
        first_shape: [h, w] of the small image.
        num_outputs: channels of the answer.
        channels: of the encoder, from the data inwards.
        kernel_size: of the convolutions.
        initializer: of the kernels, a key of `INITIALIZERS`.
        lowering: of the convolutions.
        multiple: the channels are so many sets of them.
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
        """[m] -> [multiple, H, W, num_outputs]; `axes` as in `normalize`."""
        init = INITIALIZERS[self.initializer]
        shared = {"transposed": True, "lowering": self.lowering, "kernel_init": init}
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
    """Encoder and decoder for images whose sides 2^L divides, L the convolutions; ELU alone.

    The decoder begins at sides H / 2^L and W / 2^L, 4 x 4 for CIFAR-10: from the 2 x 2 that Table 9
    prints, its three convolutions would end at 16 x 16. Its sigmoid is `Vae`'s, which squashes the
    location of a discretised logistic.

    Args:
        config: the `model` group: channels, kernel_size, activation, initializer, lowering.
        data_shape: [H, W, C] of one example.
        num_outputs: of the encoder.
        multiple: how many numbers the likelihood needs for an element.

    Raises:
        UsageError: if the images have another size, or another activation is asked for.
    """
    if config.activation != "elu":
        raise UsageError(
            f"model 'conv_elu' has ELU; set model.activation=elu, got {config.activation!r}"
        )
    channels = tuple(config.channels) or CHANNELS
    factor = 2 ** len(channels)
    if len(data_shape) != 3 or data_shape[0] % factor or data_shape[1] % factor:
        found = " x ".join(map(str, data_shape))
        raise UsageError(
            f"model 'conv_elu' with {len(channels)} convolutions takes images with sides that"
            f" {factor} divides, got {found}; pad (data.pad_to) or resize (data.image_size) them"
        )
    kernel_size, init = config.kernel_size or KERNEL_SIZE, config.initializer
    encoder = ConvBnEncoder(num_outputs, channels, kernel_size, "elu", init, config.lowering)
    first_shape = (data_shape[0] // factor, data_shape[1] // factor)
    style = (channels, kernel_size, init, config.lowering)
    return encoder, ConvEluDecoder(first_shape, data_shape[-1], *style, multiple)
