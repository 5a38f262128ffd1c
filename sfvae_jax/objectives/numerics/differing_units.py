"""The units in which an example differs from most of its batch, and how they change its tangents.

The letters are those of `relu_units`, which has the algebra.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.linear_algebra import matmul

# An example takes the first of these parts whose capacities hold its units in every layer. With inf
# they hold all units of all layers.
_PARTS = (1 / 12, 1 / 8, 1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2, math.inf)


class Shared(NamedTuple):
    """What all examples have in common, for H units in all; or what of it belongs to one's units.

    Attributes:
        inputs: A' by layers, [h_k, m] each.
        paths: N by layers l and by the layers k before it, [h_k, h_l] each.
        outputs: Z, [H, n] for the rows; Z base', [H, m] for their products.
        inner: Z Z', [H, H], for the products only.
        base: base, [m, n]; base base', [m, m], for the products.
    """

    inputs: list[Array]
    paths: list[list[Array]]
    outputs: Array
    inner: Array | None
    base: Array


class Units(NamedTuple):
    """Units in which each example differs from most of the batch, by layers.

    The examples follow each other in the order of their parts.

    Attributes:
        numbers: the units' numbers in ascending order, then any others, [B, h_k] each.
        signs: 1 where such a unit is active, -1 where it is not, then 0, [B, h_k] each.
        examples: the numbers of the examples, [B].
        ends: for each of `_PARTS`, how many examples have this one or an earlier one.
    """

    numbers: list[Array]
    signs: list[Array]
    examples: Array
    ends: list[Array]


class Own(NamedTuple):
    """The units of one example by layers: the first `numbers` and `signs` of it, [r_k] each."""

    numbers: list[Array]
    signs: list[Array]


def differing(active: list[Array], usual: list[Array]) -> Units:
    """Returns the units of every example.

    Args:
        active: by layers, [B, h_k] each.
        usual: by layers, [h_k] each.
    """
    capacities = jnp.array([_capacities([len(of) for of in usual], part) for part in _PARTS])
    numbers, signs, parts = [], [], jnp.zeros(len(active[0]), jnp.int32)
    for layer, (own, usual_units) in enumerate(zip(active, usual, strict=True)):
        differs = own != usual_units[None, :]
        counts, size = jnp.sum(differs, axis=1, dtype=jnp.int32), len(usual_units)
        every = jnp.arange(size)[None, :]
        order = jnp.sort(jnp.where(differs, every, every + size), axis=1) % size
        sign = jnp.where(jnp.take_along_axis(own, order, axis=1), 1.0, -1.0)
        numbers.append(order)
        signs.append(jnp.where(every < counts[:, None], sign, 0.0))
        parts = jnp.maximum(parts, jnp.searchsorted(capacities[:, layer], counts))
    examples = jnp.argsort(parts)
    ends = [jnp.sum(parts <= part, dtype=jnp.int32) for part in range(len(_PARTS))]
    return Units([of[examples] for of in numbers], [of[examples] for of in signs], examples, ends)


def _capacities(sizes: list[int], part: float) -> list[int]:
    """Returns how many units of each layer a part holds.

    Of a small layer these are more than that part, of a large one fewer. An example may differ in a
    quarter of one layer and a tenth of another, and room in a small one costs less.
    """
    mean = sum(sizes) / len(sizes)
    return [math.ceil(min(size, part * math.sqrt(size * mean))) for size in sizes]


def one_after_another(units: Units, body: Callable[[Array, Own, Any], Any], carry: Any) -> Any:
    """Calls body(example, own units, carry) for each example.

    The examples follow one another because XLA's batched products are slower on a CPU. Each part
    has a loop of its own: with a `switch` in one loop for all, XLA would copy the carry for every
    example.
    """
    start, last = jnp.zeros((), jnp.int32), len(units.examples) - 1
    sizes = [of.shape[1] for of in units.numbers]
    for part, end in zip(_PARTS, units.ends, strict=True):
        held = _capacities(sizes, part)

        def nth(number: Array, held: list[int] = held) -> tuple[Array, Own]:
            number = jnp.minimum(number, last)
            own = [
                [of[number, :most] for of, most in zip(rows, held, strict=True)]
                for rows in (units.numbers, units.signs)
            ]
            return units.examples[number], Own(*own)

        def of_one(number: Array, state: Any, nth: Callable[..., Any] = nth) -> Any:
            # The next example's units are in the state, because XLA would otherwise look them up
            # again for each entry that `gathered` and `scattered` move.
            (example, own), carry = state
            return nth(number + 1), body(example, own, carry)

        _, carry = jax.lax.fori_loop(start, end, of_one, (nth(start), carry))
        start = end
    return carry


def result(signs: list[Array], of_units: Shared) -> Array:
    """Returns an example's tangents base + P Z_S [m, n], or their products [m, m].

    Args:
        signs: those of its units.
        of_units: what belongs to its units.
    """
    entering: list[Array] = []  # P' by layers, [r_k, m]
    for sign, inputs, paths in zip(signs, of_units.inputs, of_units.paths, strict=True):
        for path, before in zip(paths, entering, strict=True):
            inputs = inputs + jnp.matmul(path.T, before)
        entering.append(sign[:, None] * inputs)
    joined = jnp.concatenate(entering)
    if of_units.inner is None:
        return of_units.base + jnp.matmul(joined.T, of_units.outputs)
    return of_units.base + _change_of_products(joined, of_units.outputs, of_units.inner)


@jax.custom_jvp
def _change_of_products(entering: Array, outputs: Array, inner: Array) -> Array:
    """P V + V' P' + P I P' for P' = entering [r, m], V = outputs [r, m], a symmetric I [r, r].

    This is (base + P Z)(base + P Z)' - base base' for V = Z base' and I = Z Z'.
    """
    half = matmul(entering.T, outputs + 0.5 * matmul(inner, entering))
    return half + half.T


@_change_of_products.defjvp
def _change_of_products_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """dP (V + I P') + P (dV + dI P' / 2), and its transpose, where I is symmetric.

    Its gradient takes a product of I less than that of the two lines above.
    """
    entering, outputs, inner = primals
    entering_change, outputs_change, inner_change = tangents
    by_inner = matmul(inner, entering)
    half = matmul(entering.T, outputs + 0.5 * by_inner)
    change = matmul(entering_change.T, outputs + by_inner)
    change += matmul(entering.T, outputs_change + 0.5 * matmul(inner_change, entering))
    return half + half.T, change + change.T


def gathered(shared: Shared, own: Own) -> Shared:
    """Returns the rows and entries of an example's units, to be differentiated."""
    joined = _joined(shared, own)
    return Shared(
        inputs=[_taken(of, rows) for of, rows in zip(shared.inputs, own.numbers, strict=True)],
        paths=[
            [_taken(of, own.numbers[before], own.numbers[layer]) for before, of in enumerate(paths)]
            for layer, paths in enumerate(shared.paths)
        ],
        outputs=_taken(shared.outputs, joined),
        inner=None if shared.inner is None else _taken(shared.inner, joined, joined),
        base=shared.base,
    )


def scattered(total: Shared, change: Shared, own: Own) -> Shared:
    """Returns a total over examples with the change of what `gathered` returns for one of them."""
    joined = _joined(total, own)
    inner = total.inner
    if inner is not None and change.inner is not None:
        inner = _added(inner, change.inner, joined, joined)
    return Shared(
        inputs=list(map(_added, total.inputs, change.inputs, own.numbers)),
        paths=[
            [
                _added(of, change.paths[layer][before], own.numbers[before], own.numbers[layer])
                for before, of in enumerate(paths)
            ]
            for layer, paths in enumerate(total.paths)
        ],
        outputs=_added(total.outputs, change.outputs, joined),
        inner=inner,
        # Here, since XLA's sum over a first axis of long rows takes twenty times as long.
        base=total.base + change.base,
    )


def _joined(shared: Shared, own: Own) -> Array:
    """Returns the numbers of an example's units among those of all layers, [r]."""
    starts = itertools.accumulate((len(of) for of in shared.inputs[:-1]), initial=0)
    return jnp.concatenate([of + start for of, start in zip(own.numbers, starts, strict=True)])


def _taken(matrix: Array, rows: Array, columns: Array | None = None) -> Array:
    """Returns rows [r] of a matrix, or their entries in columns [s], [r, s]."""
    flat, places = _places(matrix, rows, columns)
    return flat.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _added(matrix: Array, change: Array, rows: Array, columns: Array | None = None) -> Array:
    """Returns the matrix with a change of what `_taken` returns."""
    flat, places = _places(matrix, rows, columns)
    flat = flat.at[places].add(
        change, mode="promise_in_bounds", wrap_negative_indices=False, unique_indices=True
    )
    return flat.reshape(matrix.shape)


def _places(matrix: Array, rows: Array, columns: Array | None) -> tuple[Array, Array]:
    """Returns an array and where in it the rows or entries are.

    Entries have one index in a flat array, because XLA would write pairs of indices into an array.
    """
    if columns is None:
        return matrix, rows
    return matrix.reshape(-1), rows[:, None] * matrix.shape[1] + columns[None, :]
