"""Results of many inputs, computed in batches, without copies of what all inputs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sfvae_jax.evaluation import TrainedModel
from sfvae_jax.evaluation.trained_model import program


def of_each(
    trained: TrainedModel,
    name: str,
    function: Callable[[Any, jax.Array], Any],
    inputs: np.ndarray,
    blank: np.ndarray,
) -> Any:
    """Returns `function(params, x)` of each input x, a pytree of arrays [N, ...].

    An array that is the same for all of them, such as the networks of a flow, is returned as a view
    of one copy, which cannot be written to: ten thousand copies of a network fill a machine.

    Args:
        trained: the model; `evaluations.batch_size` inputs are taken at once.
        name: of the function; it is compiled once for each model and size of a batch.
        function: takes the model's variables and one input.
        inputs: [N, ...].
        blank: some input, [1, ...], whose result has the shapes and types if N is 0.
    """

    def apply(params: Any, batch: jax.Array) -> Any:
        return jax.vmap(function, (None, 0))(params, batch)

    compiled = program(trained, name, lambda: jax.jit(apply))
    given, size = inputs if len(inputs) else blank, trained.config.batch_size
    batches = [given[start : start + size] for start in range(0, len(given), size)]
    with jax.default_matmul_precision("float32"):
        results = [
            jax.tree.map(_once, jax.device_get(compiled(trained.params, batch)))
            for batch in batches
        ]

    def join(*parts: np.ndarray) -> np.ndarray:
        if len(given) > 1 and all(np.array_equal(part, parts[0][:1]) for part in parts):
            return _repeated(parts[0], len(given))
        pairs = zip(parts, batches, strict=True)
        joined = np.concatenate([_repeated(part, len(batch)) for part, batch in pairs])
        return joined[: len(inputs)]

    return jax.tree.map(join, *results)


def _once(array: np.ndarray) -> np.ndarray:
    """Returns one row if all rows are equal, else the array."""
    return array[:1].copy() if np.all(array == array[:1]) else array


def _repeated(array: np.ndarray, size: int) -> np.ndarray:
    """Returns a view with so many rows of an array that has them, or one for all."""
    return np.broadcast_to(array, (size, *array.shape[1:])) if len(array) == 1 else array
