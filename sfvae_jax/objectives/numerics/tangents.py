"""A decoder's tangents at one latent, and their products that the objectives need.

J is the n x m Jacobian and c the observation variance; K = W W' belongs to a decoder that ends in
the dense layer W without an activation (`decoders.DenseOutput`). The objectives only need products
of J of size m x m or less. Each product has a derivative of its own, because automatic
differentiation would compute the derivative of a symmetric product twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import check_vector
from sfvae_jax.objectives.numerics.decoders import (
    DenseOutput,
    KnownTangents,
    has_short_form,
)
from sfvae_jax.objectives.numerics.linear_algebra import matmul, one_by_one_on_cpu

_LARGE = 128  # rows whose product with themselves is taken by halves


def push_basis(
    function: Callable[[Array], Any],
    z: Array,
    name: str = "z",
    directions: Array | None = None,
) -> tuple[Any, Any]:
    """Returns a function's value at one latent [m] and its tangents in the m basis directions.

    Both are pytrees like the function's output; the leaves of the tangents have shape [m, ...].

    It takes `jax.jvp` under `jax.vmap`: one pass and m tangent passes. The basis is the same for
    all examples of a batch, so that under another vmap a first dense layer is multiplied by it only
    once.

    Args:
        function: a function of one latent.
        z: latent, [m].
        name: the argument's name in an error.
        directions: [k, m], to take k tangents along these directions instead of the basis.

    Raises:
        ArgumentError: if z is not of rank 1.
    """
    check_vector(name, z)

    def push_forward(direction: Array) -> tuple[Any, Any]:
        return jax.jvp(function, (z,), (direction,))

    # The value does not depend on the direction, so that vmap leaves it a single pass.
    dtype = jax.dtypes.canonicalize_dtype(z.dtype)
    along = jnp.eye(z.size, dtype=dtype) if directions is None else directions.astype(dtype)
    return jax.vmap(push_forward, out_axes=(None, 0))(along)


def tangents(
    decode: Callable[[Array], Any],
    z: Array,
    tangent_decode: Callable[[Array], Any] | None = None,
    directions: Array | None = None,
) -> tuple[Any, Jacobian]:
    """Returns decode(z) in its own shape, and the Jacobian of a decoder at one latent [m].

    If the output is a pytree, the rows of the Jacobian are the elements of all leaves in turn.

    Args:
        decode: the decoder; z must be the latent of a `KnownTangents`.
        z: latent, [m].
        tangent_decode: the decoder whose Jacobian is taken, for example one in fewer bits; None if
            it is `decode`.
        directions: D [k, m], to return D J' [k, n], the k tangents along these directions, where
            otherwise J' [m, n] is returned.
    """
    source = decode if tangent_decode is None else tangent_decode
    if isinstance(source, KnownTangents):
        if directions is None and source is decode:
            return _known(source, z)
        source = source.decode
    number = z.size if directions is None else len(directions)
    jacobian: Jacobian
    if has_short_form(source, number):
        hidden, rows = push_basis(source.hidden, z, directions=directions)
        x_hat, jacobian = source.output(hidden), FactoredRows(rows, source.kernel)
    else:
        x_hat, rows = push_basis(source, z, directions=directions)
        leaves = [leaf.reshape(number, -1) for leaf in jax.tree.leaves(rows)]
        jacobian = Rows(jnp.concatenate(leaves, axis=1))
    return (x_hat if tangent_decode is None else decode(z)), jacobian


def _known(source: KnownTangents, z: Array) -> tuple[Array, Jacobian]:
    decode = source.decode
    hidden = decode.hidden(z)
    if decode.activation is None:
        return decode.output(hidden), ActiveLayers(decode, source.active, source.tangents)
    inner = decode.inner_output(hidden)
    out, slopes = jax.jvp(decode.activation, (inner,), (jnp.ones_like(inner),))
    x_hat = out if decode.shape is None else out.reshape(decode.shape)
    return x_hat, Rows(source.tangents * slopes[None, :])


def parameter_tangents(
    decode: Callable[[Array], Any],
    z: Array,
    tangent_decode: Callable[[Array], Any] | None = None,
    directions: Array | None = None,
) -> tuple[Any, Any]:
    """Returns decode(z) and the tangents of a decoder, both as pytrees like the decoder's output.

    The arguments are those of `tangents`, which joins the leaves. Here the tangents' leaves have
    shape [m, ...], or [k, ...] for k directions.
    """
    parameters, rows = push_basis(tangent_decode or decode, z, "mean", directions)
    return (parameters if tangent_decode is None else decode(z)), rows


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """A Jacobian stored as the whole matrix J', `rows` [m, n]."""

    rows: Array

    def gram(self, variance: Array) -> Array:
        """J' diag(1/c) J, [m, m]."""
        if variance.ndim:
            return symmetric_product(self.rows * jax.lax.rsqrt(variance)[None, :])
        return symmetric_product(self.rows) / variance

    def gram_diagonal(self, variance: Array) -> Array:
        """The diagonal of J' diag(1/c) J, [m]."""
        rows = self.rows.astype(jnp.promote_types(self.rows.dtype, variance.dtype))
        return jnp.sum(jnp.square(rows) / jnp.atleast_1d(variance)[None, :], axis=1)

    def project(self, residual: Array, variance: Array) -> Array:
        """J' diag(1/c) r, [m]."""
        return matmul(self.rows, residual / variance)

    def push(self, directions: Array) -> Array:
        """J v for each direction v, [k, n] for directions [k, m]."""
        return matmul(directions, self.rows)


@dataclasses.dataclass(frozen=True, eq=False)
class FactoredRows:
    """A Jacobian stored as factors of J' = M W: `hidden_rows` M [m, h] and `kernel` W [h, n]."""

    hidden_rows: Array
    kernel: Array

    def gram(self, variance: Array) -> Array:
        """J' diag(1/c) J, [m, m]."""
        if variance.ndim:  # each example may have different variances
            return self._formed().gram(variance)
        return quadratic_form(self.hidden_rows, symmetric_product(self.kernel)) / variance

    def gram_diagonal(self, variance: Array) -> Array:
        """The diagonal of J' diag(1/c) J, [m]."""
        if variance.ndim:
            return self._formed().gram_diagonal(variance)
        inner = symmetric_product(self.kernel)
        return quadratic_form_diagonal(self.hidden_rows, inner) / variance

    def project(self, residual: Array, variance: Array) -> Array:
        """J' diag(1/c) r, [m]."""
        return matmul(self.hidden_rows, matmul(self.kernel, residual / variance))

    def push(self, directions: Array) -> Array:
        """J v for each direction v, [k, n] for directions [k, m]."""
        return matmul(matmul(directions, self.hidden_rows), self.kernel)

    def _formed(self) -> Rows:
        return Rows(jnp.matmul(self.hidden_rows, self.kernel))


@dataclasses.dataclass(frozen=True, eq=False)
class ActiveLayers:
    """A Jacobian J' = W_1 D_1 ... W of dense ReLU layers whose product J'J is known.

    Attributes:
        decode: the decoder with these `layers` and the kernel W.
        active: the diagonals of the D_k in turn, [H].
        product: J'J, [m, m].
    """

    decode: DenseOutput
    active: Array
    product: Array

    def gram(self, variance: Array) -> Array:
        """J' diag(1/c) J, [m, m], for one variance."""
        assert not variance.ndim, "each element has a variance of its own"
        return self.product / variance

    def gram_diagonal(self, variance: Array) -> Array:
        """The diagonal of J' diag(1/c) J, [m], for one variance."""
        return jnp.diagonal(self.gram(variance))

    def project(self, residual: Array, variance: Array) -> Array:
        """J' diag(1/c) r, [m]."""
        back, end = matmul(self.decode.kernel, residual / variance), self.active.size
        for kernel, _ in reversed(self.decode.layers or ()):
            start = end - kernel.shape[1]
            back, end = matmul(kernel, back * self.active[start:end]), start
        return back

    def push(self, directions: Array) -> Array:
        """J v for each direction v, [k, n] for directions [k, m]."""
        rows, start = directions, 0
        for kernel, _ in self.decode.layers or ():
            end = start + kernel.shape[1]
            rows, start = matmul(rows, kernel) * self.active[None, start:end], end
        return matmul(rows, self.decode.kernel)


Jacobian = Rows | FactoredRows | ActiveLayers


@jax.custom_jvp
def symmetric_product(rows: Array) -> Array:
    """R R' for R [m, n]."""
    return one_by_one_on_cpu(_product_with_itself, _rounded(rows))


def _product_with_itself(rows: Array) -> Array:
    """R R', of which the part below the diagonal is copied where that saves time."""
    if len(rows) < _LARGE:
        return matmul(rows, rows.T)
    half = len(rows) // 2
    first, last = rows[:half], rows[half:]
    above = matmul(first, rows.T)  # the upper half of the result
    return jnp.block([[above], [above[:, half:].T, matmul(last, last.T)]])


def _rounded(rows: Array) -> Array:
    """Forces rows in fewer than 32 bits to be rounded before they are multiplied.

    XLA may keep one factor of a product in more bits than the other. A compiled R R' would then be
    neither symmetric nor positive semidefinite.
    """
    return rows if jnp.finfo(rows.dtype).bits >= 32 else jax.lax.optimization_barrier(rows)


@symmetric_product.defjvp
def _symmetric_product_jvp(primals: Any, tangent: Any) -> tuple[Array, Array]:
    """d(R R') = R dR' + its transpose. It takes one product, as does the gradient (G + G')' R.

    R stands first so that the gradient's first factor is transposed: for a batch of such products,
    XLA's CPU backend takes the faster of its two kernels.
    """
    (rows,), (change,) = primals, tangent
    rows = _rounded(rows)
    cross = matmul(rows, change.T)
    return symmetric_product(rows), cross + cross.T


@jax.custom_jvp
def quadratic_form(rows: Array, inner: Array) -> Array:
    """M K M' for M [m, h] and a symmetric K [h, h]."""
    return matmul(matmul(rows, inner), rows.T)


@quadratic_form.defjvp
def _quadratic_form_jvp(primals: Any, tangent: Any) -> tuple[Array, Array]:
    """d(M K M') = dM (M K)' + its transpose + M dK M'. Value and gradient share M K."""
    (rows, inner), (rows_change, inner_change) = primals, tangent
    product = matmul(rows, inner)
    cross = matmul(rows_change, product.T)
    inner_part = matmul(matmul(rows, inner_change), rows.T)
    return matmul(product, rows.T), cross + cross.T + inner_part


@jax.custom_jvp
def quadratic_form_diagonal(rows: Array, inner: Array) -> Array:
    """The diagonal of M K M', [m], for M [m, h] and a symmetric K [h, h]."""
    return jnp.sum(matmul(rows, inner) * rows, axis=1)


@quadratic_form_diagonal.defjvp
def _quadratic_form_diagonal_jvp(primals: Any, tangent: Any) -> tuple[Array, Array]:
    (rows, inner), (rows_change, inner_change) = primals, tangent
    product = matmul(rows, inner)
    change = 2.0 * jnp.sum(product * rows_change, axis=1)
    change += jnp.sum(matmul(rows, inner_change) * rows, axis=1)
    return jnp.sum(product * rows, axis=1), change
