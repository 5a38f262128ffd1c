"""The gradient of a whole batch, computed from a few examples at a time to save memory.

This works for a mean over examples, but not for a statistic of the whole batch. The values that all
examples share (normalised kernels, BatchNorm's moments of the whole batch) are computed once. The
gradients with respect to them are averaged over the chunks and pulled back to the parameters at the
end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend as jex
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives import has_short_form

# Maps (the values that examples share, examples [b, ...]) to (mean loss, metrics that are means).
MeanLoss = Callable[[Any, Any], tuple[Array, Any]]

SHARE_OF_MEMORY = 0.25  # of a device's memory, for the tangents of one chunk
LAYERS_KEPT = 8  # copies of the widest layer of tangents; XLA's memory plans held 5.4 to 6.5


def gradient(
    prepare: Callable[[Any], tuple[Any, Any]],
    loss: MeanLoss,
    params: Any,
    examples: Any,
    microbatch: int,
) -> tuple[Any, Any, Any]:
    """Computes d/d params of loss(prepare(params), examples), chunk by chunk.

    Up to rounding, the result does not depend on the size of the chunks. A single chunk of all
    examples is computed without a loop.

    Args:
        prepare: maps the parameters to (the values that examples share, anything else to return).
        loss: returns a mean over its examples, and metrics that are means as well.
        params: a pytree.
        examples: a pytree of arrays [b, ...].
        microbatch: number of examples in a chunk; it must divide b.

    Returns:
        (gradient, metrics, the second result of `prepare`).

    Raises:
        ValueError: if the chunk does not divide the examples.
    """
    share = len(jax.tree.leaves(examples)[0])
    if microbatch < 1 or share % microbatch:
        raise ValueError(f"microbatch must be a divisor of {share} examples, got {microbatch}")
    if microbatch == share:
        return _whole_gradient(prepare, loss, params, examples)
    shared, pull_back, kept = jax.vjp(prepare, params, has_aux=True)
    grads, metrics = _mean_over_chunks(
        lambda chunk: jax.grad(loss, has_aux=True)(shared, chunk), examples, share // microbatch
    )
    return pull_back(grads)[0], metrics, kept


def _whole_gradient(
    prepare: Callable[[Any], tuple[Any, Any]], loss: MeanLoss, params: Any, examples: Any
) -> tuple[Any, Any, Any]:
    def composed(params: Any) -> tuple[Array, tuple[Any, Any]]:
        shared, kept = prepare(params)
        value, metrics = loss(shared, examples)
        return value, (metrics, kept)

    grads, (metrics, kept) = jax.grad(composed, has_aux=True)(params)
    return grads, metrics, kept


def _mean_over_chunks(function: Callable[[Any], Any], examples: Any, number: int) -> Any:
    """Averages a function over equal chunks, one after another."""
    chunks = jax.tree.map(lambda leaf: leaf.reshape(number, -1, *leaf.shape[1:]), examples)
    shapes = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], chunks))

    def add(mean: Any, counted: tuple[Array, Any]) -> tuple[Any, None]:
        count, chunk = counted
        # With a running mean, a value that is equal in all chunks keeps all its bits.
        return jax.tree.map(lambda a, b: a + (b - a) / count, mean, function(chunk)), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(add, zeros, (1 + jnp.arange(number), chunks))[0]


def automatic_microbatch(share: int, bytes_each: int, memory: int) -> int:
    """Returns the size of a chunk that fits the memory, for a config that does not set it.

    It is the largest divisor of the share whose tangents fit into `SHARE_OF_MEMORY` of the memory,
    or 1 if none fits. Tangents of smaller chunks would stay in a CPU's cache, but this would not
    make a step faster, because products of fewer rows are slower (docs/speed.md).

    Args:
        share: number of examples of a batch on one device.
        bytes_each: bytes of the tangents of one example, see `tangent_bytes`; 0 without tangents.
        memory: the device's memory in bytes.
    """
    most = SHARE_OF_MEMORY * memory
    divisors = (number for number in range(1, share + 1) if share % number == 0)
    return max(number for number in divisors if number == 1 or number * bytes_each <= most)


def tangent_bytes(decode: Callable[[Array], Any], latent_size: int) -> int:
    """Estimates the bytes that the gradient of a decoder's m tangents needs for one example.

    It counts `LAYERS_KEPT` arrays of the widest layer. If the decoder has a loop, as a recurrent
    one has, it adds all values that the turns of the loop compute. The decoder is only traced, not
    run. A last layer whose tangents are not formed (`objectives.has_short_form`) does not count.

    Args:
        decode: a function of one latent [m].
        latent_size: m.
    """
    if has_short_form(decode, latent_size):
        decode = decode.hidden

    def outputs(number: int) -> list[tuple[int, bool]]:
        latents = jax.ShapeDtypeStruct((number, latent_size), jnp.float32)
        return list(_outputs(jax.make_jaxpr(jax.vmap(decode))(latents).jaxpr))

    # Three latents need more bytes than two: the difference belongs to one latent, and kernels,
    # which all latents share, cancel.
    pairs = zip(outputs(2), outputs(3), strict=True)
    growth = [(three - two, in_loop) for (two, in_loop), (three, _) in pairs]
    widest = max((size for size, in_loop in growth if not in_loop), default=0)
    return latent_size * (LAYERS_KEPT * widest + sum(size for size, in_loop in growth if in_loop))


def _outputs(jaxpr: jex.core.Jaxpr, turns: int = 0) -> Iterator[tuple[int, bool]]:
    """Yields each value's bytes, over all turns of a loop, and whether a loop computes it."""
    for eqn in jaxpr.eqns:
        arrays: list[Any] = [var.aval for var in eqn.outvars]
        size = sum(array.size * array.dtype.itemsize for array in arrays)
        if eqn.primitive.name == "scan":
            length = eqn.params["length"]
            yield from _outputs(eqn.params["jaxpr"].jaxpr, max(turns, 1) * length)
        yield max(turns, 1) * size, turns > 0
