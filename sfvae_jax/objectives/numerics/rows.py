"""Vectors times a kernel as one product of rows, also under `jax.grad` and `jax.vmap`.

The file defines two bilinear primitives. Each derivative of one is the other or itself:

    rows(x, w)[n, k]     = sum_h x[n, h] w[h, k],     or w[k, h] if turned,
    contract(x, y)[h, k] = sum_n x[n, h] y[n, k].

`jax.vmap` adds its axis to the rows n. Under two `jax.vmap`s, as over examples and tangents, the
kernel's gradient is then still one product. JAX's own gradient would sum over two axes, for which
XLA's CPU backend transposes an operand first. The gradient of x reads the kernel as it is stored. A
transposed kernel would be copied.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import Array
from jax.interpreters import ad

from sfvae_jax.objectives.numerics.bilinear import apply, define
from sfvae_jax.objectives.numerics.checks import check_shape


def product_of_rows(x: Array, kernel: Array) -> Array:
    """Multiplies a vector x [h] by a kernel [h, k].

    Raises:
        ArgumentError: if the shapes do not fit.
    """
    name, why = "the input of a dense layer", ", one entry for each row of its kernel"
    check_shape(name, x, kernel.shape[:1], why)
    check_shape("the kernel of a dense layer", kernel, (*x.shape, kernel.shape[-1]))
    return apply(_rows_p, x[None], kernel, turned=False)[0]


def _rows(x: Array, kernel: Array, *, turned: bool, precision: str | None) -> Array:
    over = (1,), (1 if turned else 0,)
    return jax.lax.dot_general(x, kernel, (over, ((), ())), precision=precision)


def _contract(x: Array, y: Array, *, precision: str | None) -> Array:
    return jax.lax.dot_general(x, y, (((0,), (0,)), ((), ())), precision=precision)


def _rows_shape(x: Any, kernel: Any, turned: bool) -> tuple[int, ...]:
    return x.shape[0], kernel.shape[0 if turned else 1]


_rows_p = define("rows", _rows, _rows_shape, "turned", joins_rows=True)
_contract_p = define(
    "contract_rows", _contract, lambda x, y: (x.shape[1], y.shape[1]), joins_rows=False
)


def _rows_transpose_x(
    ct: Array, x: Any, kernel: Array, *, turned: bool, precision: str | None
) -> Array:
    del x
    return _rows_p.bind(ct, kernel, turned=not turned, precision=precision)


def _rows_transpose_kernel(
    ct: Array, x: Array, kernel: Any, *, turned: bool, precision: str | None
) -> Array:
    del kernel
    x, y = (ct, x) if turned else (x, ct)
    return _contract_p.bind(x, y, precision=precision)


ad.defbilinear(_rows_p, _rows_transpose_x, _rows_transpose_kernel)
ad.defbilinear(
    _contract_p,
    lambda ct, x, y, *, precision: _rows_p.bind(y, ct, turned=True, precision=precision),
    lambda ct, x, y, *, precision: _rows_p.bind(x, ct, turned=False, precision=precision),
)
