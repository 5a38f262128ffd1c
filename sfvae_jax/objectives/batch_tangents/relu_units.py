"""Tangents of dense ReLU layers for a batch whose examples have most active units in common.

The tangents of such a decoder are M W = W_1 D_1 W_2 D_2 ... W, where D_k is diagonal with ones at
the active units of layer k. Let D_k = R_k + E_k, where R_k has the units that are active in most of
the batch, and E_k is 1 or -1 at the units in which an example differs. The examples share

    A = W_1 R_1 ... W_k         tangents that enter the units of layer k, [m, h_k],
    N = W_k+1 R_k+1 ... W_l     paths from the units of layer k to those of layer l,
    Z = W_k+1 R_k+1 ... W       paths from the units of layer k to the output, [h_k, n],
    base = W_1 R_1 ... W        [m, n].

For the r units S in which an example differs, signs e and P = A_S e + P N_SS e, its tangents are

    M W = base + P Z_S,

a product of r instead of m or h_k rows. P is found layer by layer, because N only leads to later
layers. The products (M W)(M W)' then need Z Z' and Z base' alone, which are shared too. This is
exact for any r. It is less work than the layers' own products for r up to a third of all units; in
networks of SFVAE's Table 4, r is a fifth at the start and less than a tenth after 500 steps.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.batch_tangents.differing_units import (
    Own,
    Tables,
    difference,
    differing,
    gathered,
    one_after_another,
    scattered,
)
from sfvae_jax.objectives.numerics.decoders import DenseOutput
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.objectives.numerics.tangents import quadratic_form, symmetric_product

_MOST = 4  # beyond this part on average, the layers' own products are taken
_WORTH = 8  # how many times the shared products the layers' own must take
_FEWEST, _MANY = 128, 46_340  # units of all layers; int32 numbers the pairs of so many

Kernels = tuple[Array, ...]


def shares_units(decode: Any, batch_size: int) -> TypeGuard[DenseOutput]:
    """Whether it is less work to compute a batch's tangents together.

    This is for float32 on a CPU. An accelerator computes the layers' large products faster than
    many small ones.
    """
    if not isinstance(decode, DenseOutput) or not decode.layers or jax.default_backend() != "cpu":
        return False
    kernels = (*(kernel for kernel, _ in decode.layers), decode.kernel)
    if any(kernel.dtype != jnp.float32 for kernel in kernels):
        return False
    latent_size = kernels[0].shape[0]
    own = latent_size * sum(kernel.size for kernel in kernels[1:])
    widths = [kernel.shape[1] for kernel in kernels]
    common = sum(
        before * width * after
        for number, (width, after) in enumerate(itertools.pairwise(widths))
        for before in (latent_size, *widths[:number])
    )
    units = sum(widths[:-1])
    if decode.activation is None:
        common += units * units * widths[-1]
    return _FEWEST <= units <= _MANY and batch_size * own > _WORTH * common


def tangents_of_batch(decode: DenseOutput, means: Array) -> tuple[Array, Array]:
    """Returns the active units of each example, and its tangents M W or their products.

    Args:
        decode: a decoder with `layers`.
        means: latents, [B, m], of which no derivative is taken.

    Returns:
        (active, tangents): [B, H], and M W [B, m, n] if the output has an activation, else
        (M W)(M W)' [B, m, m].
    """
    assert decode.layers is not None
    hidden, active = jax.lax.stop_gradient(means), []
    for kernel, bias in jax.lax.stop_gradient(decode.layers):
        hidden = jax.nn.relu(matmul(hidden, kernel) + bias[None, :])
        active.append(hidden > 0)
    joined = jnp.concatenate(active, axis=1)
    kernels = (*(kernel for kernel, _ in decode.layers), decode.kernel)
    return joined, _of_batch(decode.activation is None, kernels, joined)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _of_batch(products: bool, kernels: Kernels, active: Array) -> Array:
    """Returns M W [B, m, n] for the active units [B, H], or (M W)(M W)' [B, m, m]."""
    usual, few = _usual(active)
    return jax.lax.cond(
        few,
        lambda: _by_units(products, kernels, active, usual),
        lambda: _by_layers(products, kernels, active),
    )


def _of_batch_fwd(products: bool, kernels: Kernels, active: Array) -> tuple[Array, Any]:
    return _of_batch(products, kernels, active), (kernels, active)


def _of_batch_bwd(products: bool, kept: Any, cotangent: Array) -> tuple[Kernels, None]:
    return _gradient(products, *kept, cotangent), None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gradient(products: bool, kernels: Kernels, active: Array, cotangent: Array) -> Kernels:
    usual, few = _usual(active)
    return jax.lax.cond(
        few,
        lambda: _gradient_by_units(products, kernels, active, usual, cotangent),
        lambda: _gradient_by_layers(products, kernels, active, cotangent),
    )


def _gradient_fwd(products: bool, *arguments: Any) -> tuple[Kernels, Any]:
    return _gradient(products, *arguments), arguments


def _gradient_bwd(products: bool, kept: Any, change: Kernels) -> tuple[Kernels, None, Array]:
    """Second derivatives, by the layers alone: loops of a traced length have no gradient."""
    kernels, active, cotangent = kept
    _, pull = jax.vjp(
        lambda kernels, cotangent: _gradient_by_layers(products, kernels, active, cotangent),
        kernels,
        cotangent,
    )
    of_kernels, of_cotangent = pull(change)
    return of_kernels, None, of_cotangent


_gradient.defvjp(_gradient_fwd, _gradient_bwd)
_of_batch.defvjp(_of_batch_fwd, _of_batch_bwd)


def _usual(active: Array) -> tuple[Array, Array]:
    """Returns the units that are active in most examples [H], and whether few differ from them."""
    usual = jnp.mean(active, axis=0, dtype=jnp.float32) > 0.5
    return usual, jnp.mean(active != usual[None, :], dtype=jnp.float32) < 1.0 / _MOST


def _by_layers(products: bool, kernels: Kernels, active: Array) -> Array:
    """The result by the layers' own products, whose rows are all examples and tangents."""
    first, *others = kernels
    rows = jnp.broadcast_to(first, (len(active), *first.shape))
    for units, kernel in zip(_split(active, kernels), others, strict=True):
        rows = rows * units[:, None, :]
        if products and kernel is others[-1]:
            return jax.vmap(quadratic_form, (0, None))(rows, symmetric_product(kernel))
        flat = rows.reshape(-1, rows.shape[-1])
        rows = jnp.matmul(flat, kernel).reshape(*rows.shape[:-1], kernel.shape[-1])
    return rows


def _gradient_by_layers(
    products: bool, kernels: Kernels, active: Array, cotangent: Array
) -> Kernels:
    _, pull = jax.vjp(lambda kernels: _by_layers(products, kernels, active), kernels)
    return pull(cotangent)[0]


def _split(units: Array, kernels: Kernels) -> list[Array]:
    """Splits the last axis, of all units, by layers."""
    ends = itertools.accumulate(kernel.shape[1] for kernel in kernels[:-1])
    return jnp.split(units, list(ends)[:-1], axis=-1)


def _shared(products: bool, kernels: Kernels, usual: Array) -> tuple[Tables, Array]:
    """Returns what belongs to all units; and base [m, n], or base base' [m, m] for the products."""
    masks = [part.astype(kernels[0].dtype) for part in _split(usual, kernels)]
    entering = [kernels[0]]
    for mask, kernel in zip(masks[:-1], kernels[1:-1], strict=True):
        entering.append(jnp.matmul(entering[-1] * mask[None, :], kernel))
    base = jnp.matmul(entering[-1] * masks[-1][None, :], kernels[-1])
    paths: list[list[Array]] = [[] for _ in masks]
    outputs = []
    for layer in range(len(masks)):
        ahead = kernels[layer + 1]
        for later in range(layer + 1, len(masks)):
            paths[later].append(ahead)
            ahead = jnp.matmul(ahead * masks[later][None, :], kernels[later + 1])
        outputs.append(ahead)
    joined = jnp.concatenate(outputs)
    inputs = [part.T for part in entering]
    if not products:
        return Tables(inputs, paths, joined, None), base
    by_base, inner = matmul(joined, base.T), symmetric_product(joined)
    return Tables(inputs, paths, by_base, inner), symmetric_product(base)


def _by_units(products: bool, kernels: Kernels, active: Array, usual: Array) -> Array:
    tables, base = _shared(products, kernels, usual)

    def write(example: Array, own: Own, results: Array) -> Array:
        return results.at[example].set(base + difference(own.signs, gathered(tables, own)))

    results = jnp.zeros((len(active), *base.shape), base.dtype)
    units = differing(_split(active, kernels), _split(usual, kernels))
    return one_after_another(units, write, results)


def _gradient_by_units(
    products: bool, kernels: Kernels, active: Array, usual: Array, cotangent: Array
) -> Kernels:
    shared, pull = jax.vjp(lambda kernels: _shared(products, kernels, usual), kernels)
    tables, _ = shared

    def add(example: Array, own: Own, total: tuple[Tables, Array]) -> tuple[Tables, Array]:
        _, back = jax.vjp(functools.partial(difference, own.signs), gathered(tables, own))
        (of_example,) = back(cotangent[example])
        # base here, since XLA's sum over a first axis of long rows takes twenty times as long.
        return scattered(total[0], of_example, own), total[1] + cotangent[example]

    units = differing(_split(active, kernels), _split(usual, kernels))
    start = jax.tree.map(jnp.zeros_like, shared)
    return pull(one_after_another(units, add, start))[0]
