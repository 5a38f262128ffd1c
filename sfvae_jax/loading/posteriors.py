"""Results of many examples, computed in batches, without copies of what all examples share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def in_batches(
    function: Callable[[np.ndarray], Any], inputs: np.ndarray, batch_size: int, number: int
) -> Any:
    """Returns a function of the first inputs, computed for some of them at a time.

    An array that is the same for all of them, such as the networks of a flow, is returned as a view
    of one copy, which cannot be written to: ten thousand copies of a network fill a machine.

    Args:
        function: returns a pytree of arrays [n, ...] for n inputs.
        inputs: [N, ...], N at least 1.
        batch_size: n, at most.
        number: how many results are wanted, at most N.
    """
    batches = [
        jax.tree.map(_once, function(inputs[i : i + batch_size]))
        for i in range(0, len(inputs), batch_size)
    ]
    sizes = [len(inputs[i : i + batch_size]) for i in range(0, len(inputs), batch_size)]

    def join(*parts: np.ndarray) -> np.ndarray:
        if len(inputs) > 1 and all(np.array_equal(part, parts[0][:1]) for part in parts):
            return _repeated(parts[0], number)
        pairs = zip(parts, sizes, strict=True)
        return np.concatenate([_repeated(part, size) for part, size in pairs])[:number]

    return jax.tree.map(join, *batches)


def _once(array: np.ndarray) -> np.ndarray:
    """Returns one row if all rows are equal, else the array."""
    return array[:1].copy() if np.all(array == array[:1]) else array


def _repeated(array: np.ndarray, size: int) -> np.ndarray:
    """Returns a view with so many rows of an array that has them, or one for all."""
    return np.broadcast_to(array, (size, *array.shape[1:])) if len(array) == 1 else array
