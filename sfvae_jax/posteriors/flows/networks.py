"""Small dense networks as plain pytrees, so that a flow carries its own parameters.

A layer is {"kernel": [in, out], "bias": [out]}; where the encoder's context enters, it also has
{"context": [h, out]}. A network is a tuple of layers with ELU between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import ArgumentError, check_shape, check_vector, shape_of

Network = tuple[dict[str, Array], ...]

_glorot = jax.nn.initializers.glorot_uniform()


def init_network(rng: Array, sizes: Sequence[int], context_size: int = 0) -> Network:
    """Draws Glorot-uniform kernels and sets zero biases for layers of these sizes, input first.

    The context, if there is one, enters the first layer.
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
    network: Network,
    x: Array,
    num_outputs: int,
    context: Array | None = None,
    masks: Sequence[Any] | None = None,
) -> Array:
    """Applies a network, [in] -> [num_outputs]; masks, if given, multiply the kernels.

    Raises:
        ArgumentError: if the layers do not fit each other, x, the context or the outputs.
    """
    _check(network, x, num_outputs, context)
    for i, layer in enumerate(network):
        kernel = layer["kernel"] if masks is None else layer["kernel"] * masks[i]
        x = x @ kernel + layer["bias"]
        if context is not None and "context" in layer:
            x = x + context @ layer["context"]
        if i < len(network) - 1:
            x = jax.nn.elu(x)
    return x


def _check(network: Network, x: Array, num_outputs: int, context: Array | None) -> None:
    takes_context = any("context" in layer for layer in network)
    if takes_context != (context is not None):
        what = "a context, but none is given" if takes_context else "no context, but one is given"
        raise ArgumentError(
            f"the flow's networks take {what}; set context_size where they are initialised"
        )
    sizes = shape_of("a network's input", x)
    for number, layer in enumerate(network):
        kernel = shape_of(f"layer {number}: kernel", layer["kernel"])
        if len(kernel) != 2 or kernel[:1] != sizes:
            expected = f"[{sizes[0]}, out]" if len(sizes) == 1 else "[in, out]"
            raise ArgumentError(
                f"layer {number} of a flow's network: kernel must have shape {expected}, got shape"
                f" {kernel}"
            )
        sizes = kernel[1:]
        check_shape(f"layer {number} of a flow's network: bias", layer["bias"], sizes)
        if context is not None and "context" in layer:
            check_vector("context", context)
            shape = (*context.shape, *sizes)
            check_shape(f"layer {number} of a flow's network: context", layer["context"], shape)
    if sizes != (num_outputs,):
        raise ArgumentError(f"a flow's network must have {num_outputs} outputs, got {sizes[0]}")
