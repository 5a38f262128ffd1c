"""The convolutional networks with BatchNorm of Ghosh et al. (RAE Appendix C).

A convolution before BatchNorm has no bias, because BatchNorm would subtract it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import ml_collections
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.models.convolutional.conv import sets_first
from sfvae_jax.models.lowering.convolution import Convolution
from sfvae_jax.models.mlp import ACTIVATIONS, INITIALIZERS
from sfvae_jax.models.spec import Axes, ModelSpec

CHANNELS = (128, 256, 512, 1024)
FIRST_SIDE = 8  # side of the image that the decoder's dense layer makes


def normalize(x: Array, axes: Axes) -> Array:
    """Applies BatchNorm to one example, for each channel; call it in a compact method.

    Args:
        x: the example, [..., C].
        axes: names of mapped axes, or None. With names, BatchNorm uses the mean and the variance
            over the example's pixels and these axes, and writes them to "batch_stats". With None
            it uses the moments in "batch_stats".
    """
    return nn.BatchNorm(
        use_running_average=axes is None,
        axis_name=axes,  # type: ignore[arg-type]  # JAX accepts several names as well
        momentum=0.0,  # the train step keeps the running averages
        use_fast_variance=False,  # E x^2 - (E x)^2 loses digits
    )(x)


class ConvBnEncoder(nn.Module):
    """Convolutions of stride 2, each with BatchNorm and activation, and a dense layer.

    Attributes:
        num_outputs: width of the dense layer.
        channels: channels of the convolutions.
        kernel_size: size of the kernels.
        activation: a key of `ACTIVATIONS`.
        initializer: how the kernels are initialised, a key of `INITIALIZERS`.
        lowering: how convolutions are computed, one of `LOWERINGS`.
    """

    num_outputs: int
    channels: Sequence[int] = CHANNELS
    kernel_size: int = 4
    activation: str = "relu"
    initializer: str = "lecun_normal"
    lowering: str = "auto"

    @nn.compact
    def __call__(self, x: Array, axes: Axes = None) -> Array:
        """Maps [H, W, C] to [num_outputs]; `axes` as in `normalize`."""
        init, activate = INITIALIZERS[self.initializer], ACTIVATIONS[self.activation]
        shared: dict[str, Any] = {"lowering": self.lowering, "kernel_init": init}
        for channels in self.channels:
            x = Convolution(channels, self.kernel_size, 2, use_bias=False, **shared)(x)
            x = activate(normalize(x, axes))
        return nn.Dense(self.num_outputs, kernel_init=init)(x.ravel())


class ConvBnDecoder(nn.Module):
    """A dense layer to 8 x 8 pixels, and transposed convolutions, all but the last with BatchNorm.

    All convolutions have stride 2, except for the last, which has stride 1.

    Attributes:
        num_outputs: channels of the image.
        num_doublings: number of transposed convolutions of stride 2.
        channels: channels of the encoder, from the image to the latent.
        kernel_size: size of the kernels.
        activation: a key of `ACTIVATIONS`.
        initializer: how the kernels are initialised, a key of `INITIALIZERS`.
        lowering: how convolutions are computed, one of `LOWERINGS`.
        multiple: number of images that the decoder gives.
    """

    num_outputs: int
    num_doublings: int
    channels: Sequence[int] = CHANNELS
    kernel_size: int = 4
    activation: str = "relu"
    initializer: str = "lecun_normal"
    lowering: str = "auto"
    multiple: int = 1

    @nn.compact
    def __call__(self, z: Array, axes: Axes = None) -> Array:
        """Maps [m] to [multiple, H, W, num_outputs]; `axes` as in `normalize`."""
        init, activate = INITIALIZERS[self.initializer], ACTIVATIONS[self.activation]
        shared: dict[str, Any] = {
            "transposed": True,
            "lowering": self.lowering,
            "kernel_init": init,
        }
        first, *others = self.channels[::-1]
        x = nn.Dense(FIRST_SIDE**2 * first, kernel_init=init)(z)
        x = activate(normalize(x.reshape(FIRST_SIDE, FIRST_SIDE, first), axes))
        for channels in others[: self.num_doublings]:
            x = Convolution(channels, self.kernel_size, 2, use_bias=False, **shared)(x)
            x = activate(normalize(x, axes))
        x = Convolution(self.multiple * self.num_outputs, self.kernel_size, **shared)(x)
        return sets_first(x, self.multiple)


def networks(
    config: ml_collections.ConfigDict, data_shape: Sequence[int], num_outputs: int, multiple: int
) -> tuple[nn.Module, nn.Module]:
    """Makes an encoder and a decoder for square images of 8 2^d pixels a side.

    Args:
        config: the group `model`; it reads channels, kernel_size (0: 5 for images of 64 pixels a
            side, else 4), activation, initializer and lowering.
        data_shape: [H, W, C] of one example.
        num_outputs: number of outputs of the encoder.
        multiple: number of values that the likelihood takes for each element of an example.

    Raises:
        UsageError: if the images have another size.
    """
    channels = tuple(config.channels) or CHANNELS
    if len(channels) < 2:
        raise UsageError(f"model 'conv_bn' requires two model.channels or more, got {channels}")
    sides = [FIRST_SIDE * 2**doublings for doublings in range(1, len(channels))]
    if len(data_shape) != 3 or data_shape[0] != data_shape[1] or data_shape[0] not in sides:
        found, known = " x ".join(map(str, data_shape)), " or ".join(map(str, sides))
        raise UsageError(
            f"model 'conv_bn' with {len(channels)} channels requires square images of {known}"
            f" pixels a side, got {found}; pad (data.pad_to) or resize (data.image_size) them"
        )
    side = data_shape[0]
    kernel_size = config.kernel_size or (5 if side == 64 else 4)
    style = (channels, kernel_size, config.activation, config.initializer, config.lowering)
    num_doublings = round(math.log2(side / FIRST_SIDE))
    encoder = ConvBnEncoder(num_outputs, *style)
    return encoder, ConvBnDecoder(data_shape[-1], num_doublings, *style, multiple)


CONV_BN = ModelSpec(
    name="conv_bn",
    summary="the convolutions with BatchNorm of RAE",
    networks=networks,
    sizes="square images of 16, 32 or 64 pixels a side; more model.channels allow larger ones",
    batch_norm="yes",
    options=("channels", "kernel_size"),
)
