"""Convolutions that can be computed in two ways from the same parameters.

XLA's CPU backend runs strided and transposed convolutions at a few GFLOP/s. Written as one matrix
product over patches, the same sums run many times faster there (`python -m benchmarks.step_time`).
On accelerators the native operation is faster.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.models.lowering.correlation import correlate, is_native
from sfvae_jax.objectives.numerics.rows import product_of_rows

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Array, kernel: Array, *, stride: int, padding: str = "SAME", lowering: str = "auto"
) -> Array:
    """Correlates an image with a kernel, as `jax.lax.conv_general_dilated` does.

    Args:
        x: image [H, W, C].
        kernel: [k, k, C, F].
        stride: s, in both directions.
        padding: "SAME" or "VALID".
        lowering: "native", "patches", or "auto": patches on the CPU, else native.

    Returns:
        [ceil(H / s), ceil(W / s), F] with "SAME", [(H - k) // s + 1, ...] with "VALID".
    """
    if is_native(lowering):
        return jax.lax.conv_general_dilated(
            x[None], kernel, (stride, stride), padding, dimension_numbers=_LAYOUT
        )[0]
    size = kernel.shape[0]
    pads = jax.lax.padtype_to_pads(x.shape[:2], (size, size), (stride, stride), padding)
    out = [
        (length + sum(pad) - size) // stride + 1
        for length, pad in zip(x.shape[:2], pads, strict=True)
    ]
    # Blocks of s x s pixels become channels; a kernel of r x r blocks then has stride 1.
    blocks = math.ceil(size / stride)
    wanted = [(length + blocks - 1) * stride for length in out]
    grown = [
        (low, want - length - low)
        for length, (low, _), want in zip(x.shape[:2], pads, wanted, strict=True)
    ]
    x = _space_to_depth(_pad(x, grown), stride)
    fill = blocks * stride - size
    kernel = jnp.pad(kernel, ((0, fill), (0, fill), (0, 0), (0, 0)))
    kernel = kernel.reshape(blocks, stride, blocks, stride, *kernel.shape[2:])
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    kernel = kernel.reshape(blocks, blocks, -1, kernel.shape[-1])
    return correlate(x[None], kernel, full=False)[0]


def convolve_transposed(
    x: Array, kernel: Array, *, stride: int, padding: str = "SAME", lowering: str = "auto"
) -> Array:
    """Applies a transposed convolution to an image, as `jax.lax.conv_transpose` does.

    Args:
        x: image [H, W, C].
        kernel: [k, k, C, F].
        stride: s, in both directions.
        padding: "SAME" or "VALID".
        lowering: "native", "patches", or "auto": patches on the CPU, else native.

    Returns:
        [s H, s W, F] with "SAME", [s H + max(k - s, 0), ...] with "VALID".
    """
    if is_native(lowering):
        return jax.lax.conv_transpose(
            x[None], kernel, (stride, stride), padding, dimension_numbers=_LAYOUT
        )[0]
    size, features = kernel.shape[0], kernel.shape[-1]
    kernel = kernel[::-1, ::-1]  # y[s i + d] += x[i] kernel[k - 1 - d]
    if x.shape[:2] == (1, 1):  # the output is a single square, shaped like the kernel
        square = kernel.transpose(2, 0, 1, 3).reshape(x.size, -1)
        full = product_of_rows(x.ravel(), square).reshape(size, size, features)
    else:
        full = _overlapping_squares(x, kernel, stride)
    low, length = _crop(size, stride, padding)
    wanted = [stride * n + length for n in x.shape[:2]]
    # "VALID" with a stride larger than the kernel ends in pixels that no square reaches.
    grown = [(0, max(low + want - n, 0)) for n, want in zip(full.shape[:2], wanted, strict=True)]
    return _pad(full, grown)[low : low + wanted[0], low : low + wanted[1]]


def _overlapping_squares(x: Array, kernel: Array, stride: int) -> Array:
    """Sums the k x k squares x[i] kernel, each placed at pixel s i.

    Returns:
        [s (H + r - 1), s (W + r - 1), F], where r = ceil(k / s).
    """
    size, _, channels, features = kernel.shape
    blocks = math.ceil(size / stride)
    fill = blocks * stride - size
    kernel = jnp.pad(kernel, ((0, fill), (0, fill), (0, 0), (0, 0)))
    # Output block q is the sum over t of x[q - t] times the kernel's block t.
    kernel = kernel.reshape(blocks, stride, blocks, stride, channels, features)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(blocks, blocks, channels, -1)
    y = correlate(x[None], kernel, full=True)[0]
    out = y.shape[:2]
    y = y.reshape(*out, stride, stride, features).transpose(0, 2, 1, 3, 4)
    return y.reshape(stride * out[0], stride * out[1], features)


def _crop(size: int, stride: int, padding: str) -> tuple[int, int]:
    """Returns how many pixels JAX cuts off at the start, and the kept length minus s H."""
    if padding == "VALID":
        return 0, max(size - stride, 0)
    total = size + stride - 2
    before = size - 1 if stride > size - 1 else math.ceil(total / 2)
    return size - 1 - before, 0


def _pad(x: Array, widths: list[tuple[int, int]]) -> Array:
    """Pads an image with zeros; negative widths crop it."""
    edges = [(low, high, 0) for low, high in (*widths, (0, 0))]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), edges)


def _space_to_depth(x: Array, block: int) -> Array:
    """Turns blocks of s x s pixels into channels: [s H, s W, C] -> [H, W, s s C]."""
    height, width, channels = x.shape
    x = x.reshape(height // block, block, width // block, block, channels)
    return x.transpose(0, 2, 1, 3, 4).reshape(height // block, width // block, -1)


class Convolution(nn.Module):
    """A layer that applies `convolve` or `convolve_transposed` with its own kernel and bias.

    Attributes:
        features: channels of the output.
        kernel_size: k.
        stride: s.
        padding: "SAME" or "VALID".
        transposed: whether it applies `convolve_transposed`.
        lowering: how the result is computed, one of `correlation.LOWERINGS`.
        kernel_init: initialises the kernel [k, k, C, features]; the bias starts at zero. The kernel
            of a transposed convolution is then multiplied by the stride s, because each output
            pixel depends on only one in s^2 of the k^2 C weights. If the image is a single pixel,
            each output pixel depends on C weights and the factor is k. The fan-in is therefore the
            number of weights behind an output pixel. PyTorch instead counts the outputs that depend
            on one input, k^2 features.
        use_bias: whether the layer has a bias. Set it to False if a normalisation of each channel
            follows, which would subtract the bias again. Its gradient would consist of rounding
            errors, which Adam turns into full steps.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: str = "SAME"
    transposed: bool = False
    lowering: str = "auto"
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [H, W, C] to [H', W', features]."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        scale = 1
        if self.transposed:
            scale = self.kernel_size if x.shape[:2] == (1, 1) else self.stride
        kernel = self.param("kernel", lambda rng: scale * self.kernel_init(rng, shape))
        function = convolve_transposed if self.transposed else convolve
        y = function(x, kernel, stride=self.stride, padding=self.padding, lowering=self.lowering)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return bias.reshape(1, 1, -1) + y
