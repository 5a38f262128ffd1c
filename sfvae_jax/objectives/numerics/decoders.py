"""Decoders of a known form, for which the linearised objectives need fewer operations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.rows import product_of_rows


@dataclasses.dataclass(frozen=True, eq=False)
class DenseOutput:
    """A decoder that ends in a dense layer: decode(z) = s(hidden(z) W + b), in the shape of x.

    It can be called like any other decoder. The linearised objectives also use that its Jacobian is
    J' = M W D, where M [m, h] holds the tangents of `hidden` and D = diag(s'(a)), a = hidden(z) W +
    b. Without an activation D = I and J'J = M (W W') M'. All examples with the same kernel then
    share W W', also under `jax.vmap`; where `has_short_form` finds that this takes less work, J is
    never formed.

    Attributes:
        hidden: maps one latent [m] to the last hidden layer [h].
        kernel: W, [h, n].
        bias: b, [n], or None.
        shape: shape of the output, with n elements; None for [n].
        batch_size: number of examples that share the kernel in one call; the choice depends on it.
        activation: s, elementwise; None for the identity.
        layers: kernel [h', h] and bias [h] of each layer of `hidden`, if these are dense layers
            with ReLU. `batch_loss` can then compute the tangents of a batch together.
    """

    hidden: Callable[[Array], Array]
    kernel: Array
    bias: Array | None = None
    shape: tuple[int, ...] | None = None
    batch_size: int = 64
    activation: Callable[[Array], Array] | None = None
    layers: Sequence[tuple[Array, Array]] | None = None

    def __call__(self, z: Array) -> Array:
        """The output for one latent [m]."""
        return self.output(self.hidden(z))

    def output(self, hidden: Array) -> Array:
        """The output for one hidden layer [h]."""
        out = self.inner_output(hidden)
        if self.activation is not None:
            out = self.activation(out)
        return out if self.shape is None else out.reshape(self.shape)

    def inner_output(self, hidden: Array) -> Array:
        """The output [n] without the activation."""
        # XLA's CPU backend is faster with a product of rows.
        by_rows = jax.default_backend() == "cpu" and hidden.ndim == 1
        out = (product_of_rows if by_rows else jnp.matmul)(hidden, self.kernel)
        return out if self.bias is None else out + self.bias


@dataclasses.dataclass(frozen=True, eq=False)
class KnownTangents:
    """A decoder with `layers` whose tangents at one latent are known; called like the decoder.

    Attributes:
        decode: the decoder.
        active: which units of its layers are active there, [H].
        tangents: M W [m, n] if its output has an activation, else (M W)(M W)' [m, m].
    """

    decode: DenseOutput
    active: Array
    tangents: Array

    def __call__(self, z: Array) -> Array:
        """The output for one latent [m]."""
        return self.decode(z)


def has_short_form(decode: Callable[[Array], Any], latent_size: int) -> TypeGuard[DenseOutput]:
    """Whether M (W W') M' takes less work than (M W)(M W)' and is as accurate.

    W W' takes h^2 n operations once, and saves m (n - h)(h + m) operations for each example.

    In fewer than 32 bits it is less accurate: after rounding it may not be positive semidefinite,
    which the product of a matrix with its own transpose always is.

    An activation has different slopes D in each example. W D^2 W' then takes h^2 n operations for
    each of them, while M W takes m h n: value and gradient of M (W D^2 W') M' take 1.9 times the
    operations of (M W D)(M W D)' for h = 512, m = 200 and n = 784, and 2.5 times for h = 200 and
    m = 50.
    """
    if not isinstance(decode, DenseOutput) or jnp.finfo(decode.kernel.dtype).bits < 32:
        return False
    if decode.activation is not None:
        return False
    h, n = decode.kernel.shape
    return decode.batch_size * latent_size * (n - h) * (h + latent_size) > h * h * n
