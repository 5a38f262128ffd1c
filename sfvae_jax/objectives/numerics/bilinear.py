"""Bilinear primitives that are computed by array code, where JAX's own derivatives would be slow.

`define` makes a primitive without derivatives. Whoever defines one adds its two transposes, with
`jax.interpreters.ad.defbilinear`. `apply` calls it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from sfvae_jax.objectives.numerics.batch import varying_axes


def define(
    name: str,
    array_code: Callable[..., Array],
    out_shape: Callable[..., tuple[int, ...]],
    *params: str,
    joins_rows: bool,
) -> Primitive:
    """Returns a primitive that takes x, y, and by name a precision and further parameters.

    Args:
        name: of the primitive.
        array_code: computes it.
        out_shape: returns the result's shape; it takes the same arguments without the precision.
        *params: the names of the further parameters.
        joins_rows: whether `jax.vmap` over x alone adds its axis to the first axis of x and of the
            result, so that there is still one product. Otherwise the array code is mapped.
    """
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(array_code, static_argnames=(*params, "precision")))
    primitive.def_abstract_eval(
        lambda x, y, *, precision, **given: x.update(
            shape=out_shape(x, y, **given), weak_type=False
        )
    )
    mlir.register_lowering(primitive, mlir.lower_fun(array_code, multiple_results=False))

    def mapped(args: Sequence[Array], axes: Sequence[int | None], **given: Any) -> Any:
        return jax.vmap(functools.partial(array_code, **given), axes)(*args), 0

    def joined(args: Sequence[Array], axes: Sequence[int | None], **given: Any) -> Any:
        x, y = args
        if axes[1] is not None:  # each example has its own y, so there is no single product
            return mapped(args, axes, **given)
        assert axes[0] is not None  # at least one argument is mapped
        x = jnp.moveaxis(x, axes[0], 0)
        out = primitive.bind(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), y, **given)
        return out.reshape(*x.shape[:2], *out.shape[1:]), 0

    batching.primitive_batchers[primitive] = joined if joins_rows else mapped
    return primitive


def apply(primitive: Primitive, x: Array, y: Array, **params: Any) -> Array:
    """Applies a primitive to operands of any dtypes, in the caller's precision of products."""
    dtype = jnp.result_type(x, y)
    # The precision is read here because products are lowered later, outside the caller's context.
    params["precision"] = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    x, y = x.astype(dtype), y.astype(dtype)
    return (primitive.impl if _needs_own_operations(x, y) else primitive.bind)(x, y, **params)


def _needs_own_operations(x: Array, y: Array) -> bool:
    """Whether only JAX's own operations know where the result and its derivatives are.

    They do if x and y vary over different axes of `jax.shard_map`, or are on a mesh whose axes
    are explicit, which is `jax.make_mesh`'s default in jax 0.10.
    """
    meshes = [jax.typeof(operand).sharding.mesh for operand in (x, y)]
    explicit = any(jax.sharding.AxisType.Explicit in mesh.axis_types for mesh in meshes)
    return explicit or varying_axes(x) != varying_axes(y)
