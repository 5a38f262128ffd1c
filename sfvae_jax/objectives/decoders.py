"""Decoders of a known form, which the linearised objectives take a shorter way through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass(frozen=True)
class DenseOutput:
    """A decoder that ends in a dense layer: decode(z) = hidden(z) W + b, in the shape of x.

    It is a decoder like any other callable. The linearised objectives see, besides, that its
    Jacobian is J' = M W with M [m, h] the tangents of `hidden`, so that J'J = M (W W') M': for
    h < n they never form J. W W' is common to all examples as long as the kernel is, under
    `jax.vmap` too.

    Attributes:
        hidden: maps one latent [m] to the last hidden layer [h].
        kernel: W, [h, n].
        bias: b, [n], or None.
        shape: of the answer, with n elements; None for [n].
    """

    hidden: Callable[[Array], Array]
    kernel: Array
    bias: Array | None = None
    shape: tuple[int, ...] | None = None

    def __call__(self, z: Array) -> Array:
        """The answer for one latent [m]."""
        return self.output(self.hidden(z))

    def output(self, hidden: Array) -> Array:
        """The answer for one hidden layer [h]."""
        out = jnp.matmul(hidden, self.kernel)
        if self.bias is not None:
            out = out + self.bias
        return out if self.shape is None else out.reshape(self.shape)
