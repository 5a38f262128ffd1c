"""Cross-correlation of stride 1 as one large matrix product, also under `jax.grad` and `jax.vmap`.

The file defines two bilinear primitives, which are each other's derivatives:

    correlate(x, w)[n, i, f] = sum_{a, c} x[n, i + a, c] w[a, c, f]
    contract(x, y)[a, c, f]  = sum_{n, i} x[n, i + a, c] y[n, i, f]        (i, a: pixels)

They are primitives instead of plain array code for two reasons. First, JAX's own derivatives of
patches would move several times as many numbers: the transpose of a shifted slice is a padded
array, and the transpose of a concatenation is a sum of such arrays. Second, `jax.vmap` adds its
axis to the axis n. Examples, tangents and pixels are then the rows of one matrix product, also in
the kernel's gradient, which sums over them. For a sum over two axes XLA's CPU backend would
transpose an operand first.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.interpreters import ad

from sfvae_jax.objectives.numerics.bilinear import apply, define
from sfvae_jax.objectives.numerics.checks import check_shape

LOWERINGS = ("auto", "native", "patches")


def is_native(lowering: str) -> bool:
    """Returns whether a lowering leaves the operation to XLA; "auto" does so except on the CPU."""
    if lowering == "auto":
        return jax.default_backend() != "cpu"
    return lowering == "native"


def correlate(x: Array, kernel: Array, *, full: bool) -> Array:
    """Cross-correlation of a batch of images with a kernel, with stride 1.

    Args:
        x: images [N, H, W, C].
        kernel: [r, r, C, F].
        full: whether the images are first padded with r - 1 zeros on each side.

    Returns:
        [N, H - r + 1, W - r + 1, F], or [N, H + r - 1, W + r - 1, F] if full.

    Raises:
        ArgumentError: if the shapes do not fit.
    """
    size, channels = kernel.shape[0], x.shape[-1]
    expected = (size, size, channels, kernel.shape[-1])
    check_shape("kernel", kernel, expected, ", square and with the channels of the image")
    return apply(_correlate_p, x, kernel, full=full)


# There are two ways. One makes patches of the input, r^2 C numbers for each pixel, and multiplies
# them. The other multiplies first, which gives r^2 F numbers for each pixel, then shifts and adds.
# The code takes the way with fewer numbers. In it, the matrix product that gives the kernel's
# gradient is also closer to a square.


def _correlate(x: Array, kernel: Array, *, full: bool, precision: str | None) -> Array:
    size, _, channels, features = kernel.shape
    out = _out_shape(x, kernel, full)
    if channels <= features:
        patches = _patches(x, size, full)
        kernel = kernel.reshape(-1, features)
        return jnp.matmul(patches, kernel, precision=precision).reshape(out)
    kernel = kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    products = jnp.matmul(_flat(x), kernel, precision=precision)
    if full and x.shape[1:3] == (1, 1):
        return products.reshape(out)[:, ::-1, ::-1]
    products = products.reshape(*x.shape[:3], size * size, features)
    terms = [
        _shift(products[:, :, :, i], shift, size, full) for i, shift in enumerate(_shifts(size))
    ]
    return sum(terms[1:], terms[0])


def _contract(x: Array, y: Array, *, precision: str | None) -> Array:
    size = x.shape[1] - y.shape[1] + 1
    channels, features = x.shape[-1], y.shape[-1]
    if channels <= features:
        kernel = _flat_product(_patches(x, size, False), _flat(y), precision)
        return kernel.reshape(size, size, channels, features)
    kernel = _flat_product(_flat(x), _patches(y, size, True), precision)
    return kernel.reshape(channels, size, size, features)[:, ::-1, ::-1].transpose(1, 2, 0, 3)


def _patches(x: Array, size: int, full: bool) -> Array:
    """Returns all squares of r x r pixels, one in each row: [pixels, r r C]."""
    if not full and x.shape[1:3] == (size, size):
        return x.reshape(x.shape[0], -1)
    if full:
        x = _pad(x, size - 1, size - 1, size - 1, size - 1)
    slices = [_shift(x, shift, size, False) for shift in _shifts(size)]
    return jnp.stack(slices, axis=3).reshape(-1, size * size * x.shape[-1])


def _shift(x: Array, shift: tuple[int, int], size: int, full: bool) -> Array:
    """Returns, for every output pixel, the pixel that the kernel's weight [i, j] multiplies."""
    i, j = shift
    rest = size - 1
    if full:
        return _pad(x, rest - i, i, rest - j, j)
    return x[:, i : x.shape[1] - rest + i, j : x.shape[2] - rest + j]


def _pad(x: Array, top: int, bottom: int, left: int, right: int) -> Array:
    edges = [(0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), edges)


def _shifts(size: int) -> list[tuple[int, int]]:
    return [(i, j) for i, j in product(range(size), repeat=2)]


def _flat(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _flat_product(a: Array, b: Array, precision: str | None) -> Array:
    return jax.lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision=precision)


def _out_shape(x: Any, kernel: Any, full: bool) -> tuple[int, ...]:
    grown = (kernel.shape[0] - 1) * (1 if full else -1)
    return x.shape[0], x.shape[1] + grown, x.shape[2] + grown, kernel.shape[-1]


def _turned(kernel: Array) -> Array:
    """Returns the kernel of the transposed correlation, [r, r, F, C]."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _contract_shape(x: Any, y: Any) -> tuple[int, ...]:
    return *(x.shape[i] - y.shape[i] + 1 for i in (1, 2)), x.shape[-1], y.shape[-1]


_correlate_p = define("correlate", _correlate, _out_shape, "full", joins_rows=True)
_contract_p = define("contract", _contract, _contract_shape, joins_rows=False)


def _correlate_transpose_x(
    ct: Array, x: Any, kernel: Array, *, full: bool, precision: str | None
) -> Array:
    del x
    return _correlate_p.bind(ct, _turned(kernel), full=not full, precision=precision)


def _correlate_transpose_kernel(
    ct: Array, x: Array, kernel: Any, *, full: bool, precision: str | None
) -> Array:
    del kernel
    if full:
        return _turned(_contract_p.bind(ct, x, precision=precision))
    return _contract_p.bind(x, ct, precision=precision)


ad.defbilinear(_correlate_p, _correlate_transpose_x, _correlate_transpose_kernel)
ad.defbilinear(
    _contract_p,
    lambda ct, x, y, *, precision: _correlate_p.bind(
        y, _turned(ct), full=True, precision=precision
    ),
    lambda ct, x, y, *, precision: _correlate_p.bind(x, ct, full=False, precision=precision),
)
