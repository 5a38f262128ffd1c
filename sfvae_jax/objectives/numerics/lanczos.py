"""Functions of a symmetric matrix of which only products with vectors are known."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.linear_algebra import matmul, one_by_one_on_cpu

Function = Callable[[Array], Array]  # elementwise, of eigenvalues


class Krylov(NamedTuple):
    """A symmetric matrix A within the space that b, A b, ..., A^(l-1) b span.

    Attributes:
        basis: orthonormal rows Q, [l, m]; rows beyond the dimension of the space are zero.
        norm: |b|, a scalar.
        eigenvalues: those of Q A Q', [l]; at least `smallest`.
        eigenvectors: those of Q A Q', in columns, V [l, l].
    """

    basis: Array
    norm: Array
    eigenvalues: Array
    eigenvectors: Array

    def quadratic(self, function: Function) -> Array:
        """b' f(A) b, a scalar: |b|^2 sum_i V_0i^2 f(theta_i), with the eigenvalues theta.

        This is a Gauss quadrature, exact for polynomials of degree 2 l - 1. If the derivative of
        order 2 l of f is negative everywhere, as that of the logarithm is, the value is at least
        b' f(A) b; if it is positive, as that of the reciprocal, at most.
        """
        weights = jnp.square(self.eigenvectors[0])
        return jnp.square(self.norm) * jnp.sum(weights * function(self.eigenvalues))

    def apply(self, function: Function) -> Array:
        """f(A) b, [m]: |b| Q' V diag(f(theta)) V' e_0. With the reciprocal: conjugate gradients."""
        scaled = function(self.eigenvalues) * self.eigenvectors[0]
        return self.norm * matmul(matmul(self.eigenvectors, scaled), self.basis)


def krylov(
    product: Callable[[Array], Array], start: Array, num_steps: int, smallest: float
) -> Krylov:
    """Carries out the Lanczos iteration with a symmetric matrix A from a vector b.

    Each vector is made orthogonal to all earlier ones twice: in float32 the plain recurrence of
    three terms loses orthogonality as soon as an eigenvalue has converged. If the space is
    exhausted before the last step, the rest of the basis is zero, and the results are exact.

    Args:
        product: maps v [m] to A v [m].
        start: b, [m]; may be zero.
        num_steps: l, the number of products; no more than m are taken.
        smallest: a lower bound of the eigenvalues of A, to which those found are raised.

    Returns:
        A `Krylov`, whose derivatives are not meant to be taken.
    """
    number = min(num_steps, start.size)
    epsilon = jnp.finfo(start.dtype).eps

    def step(carry: tuple[Array, Array], place: Array) -> tuple[tuple[Array, Array], Any]:
        basis, vector = carry
        basis = basis.at[place].set(vector)
        image = product(vector)
        diagonal, size = jnp.sum(vector * image), jnp.linalg.norm(image)
        for _ in range(2):
            image -= matmul(matmul(basis, image), basis)
        length = jnp.linalg.norm(image)
        length = jnp.where(length > 10.0 * epsilon * size, length, 0.0)
        return (basis, _divided(image, length)), (diagonal, length)

    norm = jnp.linalg.norm(start)
    first = jnp.zeros((number, start.size), start.dtype), _divided(start, norm)
    (basis, _), (diagonals, lengths) = jax.lax.scan(step, first, jnp.arange(number))
    matrix = jnp.diag(diagonals) + jnp.diag(lengths[:-1], 1) + jnp.diag(lengths[:-1], -1)
    decompose = functools.partial(jnp.linalg.eigh, symmetrize_input=False)
    eigenvalues, eigenvectors = one_by_one_on_cpu(lambda matrix: tuple(decompose(matrix)), matrix)
    return Krylov(basis, norm, jnp.maximum(eigenvalues, smallest), eigenvectors)


def _divided(vector: Array, length: Array) -> Array:
    """Divides a vector by a length; returns zero if the length is zero."""
    return jnp.where(length > 0.0, vector / jnp.where(length > 0.0, length, 1.0), 0.0)
