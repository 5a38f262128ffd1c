"""Small dense networks as plain pytrees, so that a flow carries its own parameters.

A layer is {"kernel": [in, out], "bias": [out]}, with {"context": [h, out]} where an encoder's
context h enters; a network is a tuple of layers with ELU between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Network = tuple[dict[str, Array], ...]

_glorot = jax.nn.initializers.glorot_uniform()


def init_network(rng: Array, sizes: Sequence[int], context_size: int = 0) -> Network:
    """Glorot-uniform kernels and zero biases for layers of these sizes, input first.

    The context, if any, enters the first layer.
    """
    keys = jax.random.split(rng, len(sizes))
    layers: list[dict[str, Any]] = [
        {"kernel": _glorot(key, (size, following)), "bias": jnp.zeros(following)}
        for key, size, following in zip(keys, sizes[:-1], sizes[1:], strict=False)
    ]
    if context_size:
        layers[0]["context"] = _glorot(keys[-1], (context_size, sizes[1]))
    return tuple(layers)


def apply_network(
    network: Network, x: Array, context: Array | None = None, masks: Sequence[Any] | None = None
) -> Array:
    """[in] -> [out]; each kernel times its mask, where masks are given."""
    for i, layer in enumerate(network):
        kernel = layer["kernel"] if masks is None else layer["kernel"] * masks[i]
        x = x @ kernel + layer["bias"]
        if "context" in layer:
            x = x + context @ layer["context"]
        if i < len(network) - 1:
            x = jax.nn.elu(x)
    return x
