"""Small dense linear systems under `jax.vmap`, whose derivatives need no factorisation.

By default, accelerators multiply float32 matrices in fewer bits (bfloat16 on a TPU, TF32 on a GPU).
The determinant of I + U'U/c would then be far off. Therefore products here and in the linearised
objectives request full precision.

Under vmap the CPU handles one matrix at a time. The batched LAPACK calls of jaxlib 0.10 occupy
threads of a pool and wait for other threads of it; when they occupy all of them, they hang.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

# Rows of a triangular matrix that are inverted together. From 32 rows on, SciPy's OpenBLAS divides
# the work between threads, which then keep a core busy while they wait for more.
_SMALL = 31
_LARGE = 128  # rows of a matrix that is multiplied by halves


def matmul(a: Array, b: Array) -> Array:
    """The product a b in full precision, summed and returned in at least 32 bits."""
    dtype = jnp.promote_types(jnp.result_type(a, b), jnp.float32)
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST, preferred_element_type=dtype)


def one_by_one_on_cpu(function: Callable[[Array], Any], matrix: Array) -> Any:
    """Applies a function of one matrix, which under vmap the CPU takes one after another."""
    sequential = jax.custom_batching.sequential_vmap(function)
    return jax.lax.platform_dependent(matrix, cpu=sequential, default=function)


def _cholesky(matrix: Array) -> Array:
    """The lower triangular L with L L' = A, for a symmetric A of which the upper triangle is read.

    The rounding error of A may be added to it.
    """
    factorize = functools.partial(jnp.linalg.cholesky, symmetrize_input=False)
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    matrix = matrix.T  # which is A again, and saves a copy: LAPACK stores columns, XLA rows
    trial = factorize(matrix)

    def with_rounding_error() -> Array:
        # With the rounding error of A's entries on the diagonal the factorisation succeeds.
        rounding = 10.0 * jnp.finfo(matrix.dtype).eps * jnp.trace(matrix)
        return factorize(matrix + rounding * identity)

    # If a pivot fails, everything after it is nan.
    return jax.lax.cond(jnp.isfinite(trial[-1, -1]), lambda: trial, with_rounding_error)


def _cholesky_inverse(matrix: Array) -> tuple[Array, Array]:
    """A^-1 and log det A from one Cholesky factorisation."""
    factor = _cholesky(matrix)
    log_det = 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor)))
    return _square_of_transpose(_lower_triangular_inverse(factor)), log_det


def _square_of_transpose(lower: Array) -> Array:
    """L' L for a lower triangular L, by halves, so that its zeros are not multiplied."""
    if len(lower) < _LARGE:
        return matmul(lower.T, lower)
    half = len(lower) // 2
    first, below, last = lower[:half, :half], lower[half:, :half], lower[half:, half:]
    above = _square_of_transpose(first) + matmul(below.T, below)
    beside = matmul(below.T, last)
    return jnp.block([[above, beside], [beside.T, _square_of_transpose(last)]])


def _slogdet_inverse(matrix: Array) -> tuple[Array, Array]:
    """A^-1 and log |det A| from two LU factorisations."""
    inverse = jnp.linalg.solve(matrix, jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return inverse, jnp.linalg.slogdet(matrix)[1]


SOLVERS = {"cholesky": _cholesky_inverse, "slogdet": _slogdet_inverse}


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def inverse_and_log_det(matrix: Array, solver: str = "cholesky") -> tuple[Array, Array]:
    """A^-1 and log det A for a symmetric positive definite A; differentiable to any order."""
    return one_by_one_on_cpu(SOLVERS[solver], matrix)


@inverse_and_log_det.defjvp
def _inverse_and_log_det_jvp(solver: str, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """d A^-1 = -A^-1 dA A^-1 and d log det A = tr(A^-1 dA), without differentiating a factor."""
    (matrix,), (tangent,) = primals, tangents
    inverse, log_det = inverse_and_log_det(matrix, solver)
    inverse_tangent = -matmul(matmul(inverse, tangent), inverse)
    return (inverse, log_det), (inverse_tangent, jnp.sum(inverse * tangent.T))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def log_det_and_quadratic(
    gram: Array, projection: Array, scale: Array, solver: str = "cholesky"
) -> tuple[Array, Array]:
    """log det A and p' A^-1 p for A = I + S G S, where G is symmetric, p = S g, S = diag(scale).

    Args:
        gram: G, [m, m], positive semidefinite.
        projection: g, [m].
        scale: [m].
        solver: "cholesky" or "slogdet".
    """
    inverse, log_det, scaled = _solve_scaled(gram, projection, scale, solver)
    return log_det, jnp.sum(scaled * matmul(inverse, scaled))


def _solve_scaled(
    gram: Array, projection: Array, scale: Array, solver: str
) -> tuple[Array, Array, Array]:
    """Returns (A^-1, log det A, p)."""
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)
    system = identity + gram * (scale[:, None] * scale[None, :])
    return *inverse_and_log_det(system, solver), scale * projection


@log_det_and_quadratic.defjvp
def _log_det_and_quadratic_jvp(solver: str, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """tr(A^-1 dA) and 2 w' dp - w' dA w with w = A^-1 p, without a product of two matrices.

    dA = S dG S + dS G S + S G dS, and its last two terms contribute equally. With S G S = A - I
    their sums become (1 - (A^-1)_ii) / s_i and w_i^2 / s_i, which stay accurate where G is large.
    The first one is inaccurate where (A^-1)_ii is near 1; there the sum itself is computed.
    """
    (gram, projection, scale), (gram_change, projection_change, scale_change) = primals, tangents
    inverse, log_det, scaled = _solve_scaled(gram, projection, scale, solver)
    solution = matmul(inverse, scaled)  # w
    outer = scale * solution
    by_gram = inverse * (scale[:, None] * scale[None, :])
    divisor = jnp.where(scale == 0.0, 1.0, scale)  # w_i is 0 as well where s_i is
    counted = 1.0 - jnp.diagonal(inverse)
    summed = jnp.sum(inverse * gram * scale[None, :], axis=1)
    by_scale = 2.0 * jnp.where(counted > 0.5, counted / divisor, summed)
    log_det_change = jnp.sum(by_gram * gram_change) + jnp.sum(by_scale * scale_change)
    by_scale = 2.0 * jnp.square(solution) / divisor
    change = jnp.sum(by_scale * scale_change) + 2.0 * jnp.sum(outer * projection_change)
    change -= jnp.sum(outer[:, None] * outer[None, :] * gram_change)
    return (log_det, jnp.sum(scaled * solution)), (log_det_change, change)


def _lower_triangular_inverse(matrix: Array) -> Array:
    """L^-1 by halves, since a CPU multiplies matrices faster than it solves triangular systems."""
    size = len(matrix)
    if size <= _SMALL:
        identity = jnp.eye(size, dtype=matrix.dtype)
        return jax.scipy.linalg.solve_triangular(matrix, identity, lower=True)
    half = size // 2
    first = _lower_triangular_inverse(matrix[:half, :half])
    last = _lower_triangular_inverse(matrix[half:, half:])
    below = -matmul(last, matmul(matrix[half:, :half], first))
    return jnp.block([[first, jnp.zeros_like(below.T)], [below, last]])


@jax.custom_jvp
def triangular_inverse(matrix: Array) -> Array:
    """L^-1 for a lower triangular L [m, m] without zeros on its diagonal."""
    return one_by_one_on_cpu(_lower_triangular_inverse, matrix)


@triangular_inverse.defjvp
def _triangular_inverse_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (matrix,), (tangent,) = primals, tangents
    inverse = triangular_inverse(matrix)
    return inverse, -matmul(matmul(inverse, jnp.tril(tangent)), inverse)


def _reversed_cholesky_inverse(matrix: Array) -> Array:
    # The factor of A with rows and columns reversed, reversed back, is an upper triangular U with
    # U U' = A, and the inverse of U' is lower triangular.
    upper = _cholesky(matrix[::-1, ::-1])[::-1, ::-1]
    return _lower_triangular_inverse(upper.T)


@jax.custom_jvp
def inverse_factor(matrix: Array) -> Array:
    """The lower triangular L with L L' = A^-1 for a symmetric positive definite A [m, m].

    A^-1 itself is not formed.
    """
    return one_by_one_on_cpu(_reversed_cholesky_inverse, matrix)


@inverse_factor.defjvp
def _inverse_factor_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """dL = -L P(L' dA L), where P takes the entries below the diagonal and half of the diagonal.

    From d(L L') = -A^-1 dA A^-1 it follows that L^-1 dL plus its transpose is -L' dA L, and L^-1 dL
    is lower triangular.
    """
    (matrix,), (tangent,) = primals, tangents
    factor = inverse_factor(matrix)
    change = matmul(matmul(factor.T, 0.5 * (tangent + tangent.T)), factor)
    half = jnp.tril(change, -1) + 0.5 * jnp.diag(jnp.diagonal(change))
    return factor, -matmul(factor, half)
