"""A decoder's tangents at one latent, and the products of them that the objectives need.

J is the n x m Jacobian, c the observation variance, K = W W' of a decoder that ends in the dense
layer W without an activation (`decoders.DenseOutput`). What is needed of J is m x m or less, and
each product has a derivative of its own: autodiff would take every symmetric product's twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import check_vector
from sfvae_jax.objectives.numerics.decoders import has_short_form
from sfvae_jax.objectives.numerics.linear_algebra import matmul


def push_basis(function: Callable[[Array], Any], z: Array, name: str = "z") -> tuple[Any, Any]:
    """Value of a function of one latent [m], and its tangents in the m basis directions [m, ...].

    Both are pytrees alike, where the function's answer is one.

    `jax.jvp` under `jax.vmap`: one pass and m tangent passes. The basis is the same for all
    examples of a batch, so that under a further vmap a first dense layer is multiplied by it once.

    Raises:
        ArgumentError: if z, called by its name, is not of rank 1.
    """
    check_vector(name, z)

    def push_forward(direction: Array) -> tuple[Any, Any]:
        return jax.jvp(function, (z,), (direction,))

    # The value does not depend on the direction, so that vmap leaves it a single pass.
    basis = jnp.eye(z.size, dtype=jax.dtypes.canonicalize_dtype(z.dtype))
    return jax.vmap(push_forward, out_axes=(None, 0))(basis)


def tangents(
    decode: Callable[[Array], Any],
    z: Array,
    tangent_decode: Callable[[Array], Any] | None = None,
) -> tuple[Any, Rows | FactoredRows]:
    """decode(z) in its own shape, and the Jacobian of a decoder at one latent [m].

    Of an answer that is a pytree, the Jacobian has all leaves' elements as its rows, in turn.

    Args:
        decode: the decoder.
        z: latent, [m].
        tangent_decode: the decoder whose Jacobian it is, if another; one in fewer bits, say.
    """
    source = decode if tangent_decode is None else tangent_decode
    jacobian: Rows | FactoredRows
    if has_short_form(source, z.size):
        hidden, rows = push_basis(source.hidden, z)
        x_hat, jacobian = source.output(hidden), FactoredRows(rows, source.kernel)
    else:
        x_hat, rows = push_basis(source, z)
        leaves = [leaf.reshape(z.size, -1) for leaf in jax.tree.leaves(rows)]
        jacobian = Rows(jnp.concatenate(leaves, axis=1))
    return (x_hat if tangent_decode is None else decode(z)), jacobian


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """J' as it is, `rows` [m, n]."""

    rows: Array

    def gram(self, variance: Array) -> Array:
        """J' diag(1/c) J, [m, m]."""
        if variance.ndim:
            return symmetric_product(self.rows * jax.lax.rsqrt(variance)[None, :])
        return symmetric_product(self.rows) / variance

    def gram_diagonal(self, variance: Array) -> Array:
        """Its diagonal, [m]."""
        rows = self.rows.astype(jnp.promote_types(self.rows.dtype, variance.dtype))
        return jnp.sum(jnp.square(rows) / jnp.atleast_1d(variance)[None, :], axis=1)

    def project(self, residual: Array, variance: Array) -> Array:
        """J' diag(1/c) r, [m]."""
        return matmul(self.rows, residual / variance)


@dataclasses.dataclass(frozen=True, eq=False)
class FactoredRows:
    """J' = M W, of `hidden_rows` M [m, h] and `kernel` W [h, n]."""

    hidden_rows: Array
    kernel: Array

    def gram(self, variance: Array) -> Array:
        """J' diag(1/c) J, [m, m]."""
        if variance.ndim:  # each example may have weights of its own
            return self._formed().gram(variance)
        return quadratic_form(self.hidden_rows, symmetric_product(self.kernel)) / variance

    def gram_diagonal(self, variance: Array) -> Array:
        """Its diagonal, [m]."""
        if variance.ndim:
            return self._formed().gram_diagonal(variance)
        inner = symmetric_product(self.kernel)
        return quadratic_form_diagonal(self.hidden_rows, inner) / variance

    def project(self, residual: Array, variance: Array) -> Array:
        """J' diag(1/c) r, [m]."""
        return matmul(self.hidden_rows, matmul(self.kernel, residual / variance))

    def _formed(self) -> Rows:
        return Rows(jnp.matmul(self.hidden_rows, self.kernel))


@jax.custom_jvp
def symmetric_product(rows: Array) -> Array:
    """R R' of R [m, n]."""
    rows = _rounded(rows)
    return matmul(rows, rows.T)


def _rounded(rows: Array) -> Array:
    """Rows in fewer than 32 bits as they are said to be.

    XLA may keep one factor of a product in more bits than the other: a compiled R R' would then be
    neither symmetric nor positive semidefinite.
    """
    return rows if jnp.finfo(rows.dtype).bits >= 32 else jax.lax.optimization_barrier(rows)


@symmetric_product.defjvp
def _symmetric_product_jvp(primals: Any, tangent: Any) -> tuple[Array, Array]:
    """d(R R') = dR R' + its transpose: one product, and one for the gradient, (G + G') R."""
    (rows,), (change,) = primals, tangent
    rows = _rounded(rows)
    cross = matmul(change, rows.T)
    return symmetric_product(rows), cross + cross.T


@jax.custom_jvp
def quadratic_form(rows: Array, inner: Array) -> Array:
    """M K M' of M [m, h] and a symmetric K [h, h]."""
    return matmul(matmul(rows, inner), rows.T)


@quadratic_form.defjvp
def _quadratic_form_jvp(primals: Any, tangent: Any) -> tuple[Array, Array]:
    """d(M K M') = dM (M K)' + its transpose + M dK M'; M K serves value and gradient."""
    (rows, inner), (rows_change, inner_change) = primals, tangent
    product = matmul(rows, inner)
    cross = matmul(rows_change, product.T)
    inner_part = matmul(matmul(rows, inner_change), rows.T)
    return matmul(product, rows.T), cross + cross.T + inner_part


@jax.custom_jvp
def quadratic_form_diagonal(rows: Array, inner: Array) -> Array:
    """Diagonal of M K M', [m], for M [m, h] and a symmetric K [h, h]."""
    return jnp.sum(matmul(rows, inner) * rows, axis=1)


@quadratic_form_diagonal.defjvp
def _quadratic_form_diagonal_jvp(primals: Any, tangent: Any) -> tuple[Array, Array]:
    (rows, inner), (rows_change, inner_change) = primals, tangent
    product = matmul(rows, inner)
    change = 2.0 * jnp.sum(product * rows_change, axis=1)
    change += jnp.sum(matmul(rows, inner_change) * rows, axis=1)
    return jnp.sum(product * rows, axis=1), change
