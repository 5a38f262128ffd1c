"""Floating-point operations of a function, counted from its jaxpr."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

_NOT_COUNTED = ("lu", "qr", "householder_product", "eigh", "eig", "svd", "pallas_call", "ffi_call")

# Primitives of objectives/numerics/bilinear.py, counted by their array code.
_OF_ARRAY_CODE = ("correlate", "contract", "rows", "contract_rows")

DATA_DECIDE = "the data decide how many operations there are"


class Flops(NamedTuple):
    """A number of operations, and what it leaves out.

    Attributes:
        value: twice the number of multiply-adds.
        notes: what is not counted, and `DATA_DECIDE` where the data decide how often it runs.
    """

    value: int
    notes: frozenset[str] = frozenset()


def count_flops(function: Callable[..., Any], *arguments: Any) -> Flops:
    """Counts the operations of matrix products, convolutions and factorisations in a function.

    A matrix product or a convolution counts 2 for each multiply-add, except those with zeros from a
    convolution's padding or dilation. A Cholesky factorisation counts n^3 / 3, a triangular solve
    of k columns n^2 k. A scan counts its body as often as it runs. A cond counts its largest
    branch, with the notes of all, and a while loop counts its body once. The note `DATA_DECIDE`
    stands for a while loop, whose length is unknown, and for a cond whose branches have more than
    two different counts. Elementwise operations count nothing.

    Args:
        function: a function that JAX can trace.
        arguments: its arguments, as arrays or shapes (`jax.ShapeDtypeStruct`).

    Returns:
        `Flops`.
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: core.Jaxpr) -> Flops:
    return _total(_of_equation(equation) for equation in jaxpr.eqns)


def _total(counts: Iterable[Flops]) -> Flops:
    counts = list(counts)
    notes = frozenset().union(*(count.notes for count in counts))
    return Flops(sum(count.value for count in counts), notes)


def _of_equation(equation: core.JaxprEqn) -> Flops:
    name, params = equation.primitive.name, equation.params
    if name in _COUNTED:
        return Flops(_COUNTED[name](equation))
    if name in _NOT_COUNTED:
        return Flops(0, frozenset({f"{name} is not counted"}))
    if name == "cond":
        branches = [_of_jaxpr(branch.jaxpr) for branch in params["branches"]]
        notes = _total(branches).notes
        sizes = {branch.value for branch in branches}
        return Flops(max(sizes), notes | {DATA_DECIDE} if len(sizes) > 2 else notes)
    if name in _OF_ARRAY_CODE:
        return count_flops(functools.partial(equation.primitive.impl, **params), *_shapes(equation))
    inner = _total(_of_jaxpr(jaxpr) for jaxpr in _inner_jaxprs(params))
    if name == "scan":
        return Flops(params["length"] * inner.value, inner.notes)
    if name == "while" and inner.value:
        return Flops(inner.value, inner.notes | {DATA_DECIDE})
    return inner


def _shapes(equation: core.JaxprEqn) -> list[jax.ShapeDtypeStruct]:
    avals = (variable.aval for variable in equation.invars)
    return [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """Yields what a call of any kind (jit, custom_jvp, remat, custom_vmap) calls."""
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _dot_general(equation: core.JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    summed = math.prod(shape[axis] for axis in contracted)
    return 2 * summed * math.prod(equation.outvars[0].aval.shape)


def _convolution(equation: core.JaxprEqn) -> int:
    params = equation.params
    numbers = params["dimension_numbers"]
    image, kernel = (variable.aval.shape for variable in equation.invars)
    out = equation.outvars[0].aval.shape
    products = out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * kernel[numbers.rhs_spec[1]]
    axes = zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    for i, (of_image, of_kernel, of_out) in enumerate(axes):
        products *= _meetings(
            image[of_image],
            kernel[of_kernel],
            out[of_out],
            params["window_strides"][i],
            params["padding"][i][0],
            (params["lhs_dilation"][i], params["rhs_dilation"][i]),
        )
    return 2 * products


def _meetings(
    image: int, kernel: int, out: int, stride: int, before: int, dilation: Sequence[int]
) -> int:
    """Counts pairs of output and kernel elements, along one axis, that meet an image element.

    Output o and kernel element k meet position o stride + k dilation[1] - before of the dilated
    image, whose elements are at multiples of dilation[0]; everything else is zero.
    """
    places = (o * stride + k * dilation[1] - before for o in range(out) for k in range(kernel))
    last = (image - 1) * dilation[0]
    return sum(0 <= place <= last and place % dilation[0] == 0 for place in places)


def _cholesky(equation: core.JaxprEqn) -> int:
    *batch, size, _ = equation.outvars[0].aval.shape
    return math.prod(batch) * size**3 // 3


def _triangular_solve(equation: core.JaxprEqn) -> int:
    size = equation.invars[0].aval.shape[-1]
    return size * math.prod(equation.outvars[0].aval.shape)


_COUNTED = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
}
