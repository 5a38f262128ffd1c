"""Vectors times a kernel as one product of rows, also under `jax.grad` and `jax.vmap`.

The file defines two bilinear primitives. Each derivative of one is the other or itself:

    rows(x, w)[n, k]     = sum_h x[n, h] w[h, k],     or w[k, h] if turned,
    contract(x, y)[h, k] = sum_n x[n, h] y[n, k].

`jax.vmap` adds its axis to the rows n. Under two `jax.vmap`s, as over examples and tangents, the
kernel's gradient is then still one product. JAX's own would sum over two axes, for which XLA's CPU
backend transposes an operand first. The gradient of x reads the kernel as it is stored, where a
transposed kernel would be copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from sfvae_jax.objectives.numerics.batch import varying_axes
from sfvae_jax.objectives.numerics.checks import check_shape


def product_of_rows(x: Array, kernel: Array) -> Array:
    """Multiplies a vector x [h] by a kernel [h, k].

    Raises:
        ArgumentError: if the shapes do not fit.
    """
    name, why = "the input of a dense layer", ", one entry for each row of its kernel"
    check_shape(name, x, kernel.shape[:1], why)
    check_shape("the kernel of a dense layer", kernel, (*x.shape, kernel.shape[-1]))
    if varying_axes(x) != varying_axes(kernel):  # which JAX's own product joins
        return jnp.matmul(x, kernel)
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    # The precision is read here because products are lowered later, outside the caller's context.
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    x, kernel = x.astype(dtype)[None], kernel.astype(dtype)
    return _rows_p.bind(x, kernel, turned=False, precision=precision)[0]


def _rows(x: Array, kernel: Array, *, turned: bool, precision: str | None) -> Array:
    over = (1,), (1 if turned else 0,)
    return jax.lax.dot_general(x, kernel, (over, ((), ())), precision=precision)


def _contract(x: Array, y: Array, *, precision: str | None) -> Array:
    return jax.lax.dot_general(x, y, (((0,), (0,)), ((), ())), precision=precision)


_rows_p = Primitive("rows")
_rows_p.def_impl(jax.jit(_rows, static_argnames=("turned", "precision")))
_rows_p.def_abstract_eval(
    lambda x, kernel, *, turned, precision: x.update(
        shape=(x.shape[0], kernel.shape[0 if turned else 1]), weak_type=False
    )
)
mlir.register_lowering(_rows_p, mlir.lower_fun(_rows, multiple_results=False))

_contract_p = Primitive("contract_rows")
_contract_p.def_impl(jax.jit(_contract, static_argnames="precision"))
_contract_p.def_abstract_eval(
    lambda x, y, *, precision: x.update(shape=(x.shape[1], y.shape[1]), weak_type=False)
)
mlir.register_lowering(_contract_p, mlir.lower_fun(_contract, multiple_results=False))


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


def _rows_batched(
    args: Sequence[Array], axes: Sequence[int | None], **params: Any
) -> tuple[Array, int]:
    x, kernel = args
    if axes[1] is not None:  # each example has its own kernel, so there is no single product
        return jax.vmap(lambda x, kernel: _rows(x, kernel, **params), axes)(x, kernel), 0
    assert axes[0] is not None  # at least one argument is mapped
    x = jnp.moveaxis(x, axes[0], 0)
    y = _rows_p.bind(x.reshape(x.shape[0] * x.shape[1], x.shape[2]), kernel, **params)
    return y.reshape(*x.shape[:2], y.shape[-1]), 0


def _contract_batched(
    args: Sequence[Array], axes: Sequence[int | None], **params: Any
) -> tuple[Array, int]:
    return jax.vmap(partial(_contract, **params), axes)(*args), 0


batching.primitive_batchers[_rows_p] = _rows_batched
batching.primitive_batchers[_contract_p] = _contract_batched
