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


class Tables(NamedTuple):
    """What belongs to units: of all H that the layers have in all, or of the r of an example.

    Attributes:
        inputs: A' by layers, [h_k, m] each.
        paths: N by layers l and by the layers k before it, [h_k, h_l] each.
        outputs: Z, [H, n] for the rows; Z base', [H, m] for their products.
        inner: Z Z', [H, H], for the products only.
    """

    inputs: list[Array]
    paths: list[list[Array]]
    outputs: Array
    inner: Array | None


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


def difference(signs: list[Array], tables: Tables) -> Array:
    """Returns P Z_S [m, n], an example's tangents less base; or their products less base base'.

    Args:
        signs: those of its units.
        tables: what belongs to its units.
    """
    entering: list[Array] = []  # P' by layers, [r_k, m]
    for sign, inputs, paths in zip(signs, tables.inputs, tables.paths, strict=True):
        for path, before in zip(paths, entering, strict=True):
            inputs = inputs + jnp.matmul(path.T, before)
        entering.append(sign[:, None] * inputs)
    joined = jnp.concatenate(entering)
    if tables.inner is None:
        return jnp.matmul(joined.T, tables.outputs)
    return _change_of_products(joined, tables.outputs, tables.inner)


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


def gathered(tables: Tables, own: Own) -> Tables:
    """Returns the rows and entries of an example's units, to be differentiated."""
    return jax.tree.map(_taken, tables, _places(tables, own))


def scattered(total: Tables, of_example: Tables, own: Own) -> Tables:
    """Returns a total over examples with one that is shaped as `gathered` returns it."""
    return jax.tree.map(_added, total, of_example, _places(total, own))


def _places(tables: Tables, own: Own) -> Tables:
    """Returns where the rows and entries of an example's units are in each table.

    Rows have their numbers, [r]. Entries have one index in the flat table, [r, s], because XLA
    would write pairs of indices into an array.
    """

    def entries(table: Array, rows: Array, columns: Array) -> Array:
        return rows[:, None] * table.shape[1] + columns[None, :]

    numbers = own.numbers
    starts = itertools.accumulate((len(of) for of in tables.inputs[:-1]), initial=0)
    joined = jnp.concatenate([of + start for of, start in zip(numbers, starts, strict=True)])
    return Tables(
        inputs=numbers,
        paths=[
            [entries(of, numbers[before], numbers[layer]) for before, of in enumerate(paths)]
            for layer, paths in enumerate(tables.paths)
        ],
        outputs=joined,
        inner=None if tables.inner is None else entries(tables.inner, joined, joined),
    )


def _taken(table: Array, places: Array) -> Array:
    flat = table if places.ndim == 1 else table.reshape(-1)
    return flat.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _added(table: Array, values: Array, places: Array) -> Array:
    flat = table if places.ndim == 1 else table.reshape(-1)
    flat = flat.at[places].add(
        values, mode="promise_in_bounds", wrap_negative_indices=False, unique_indices=True
    )
    return flat.reshape(table.shape)
