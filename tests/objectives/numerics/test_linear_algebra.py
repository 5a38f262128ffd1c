"""Inverses and determinants of small systems against NumPy, their rules against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sfvae_jax.objectives.numerics.linear_algebra import (
    SOLVERS,
    inverse_and_log_det,
    inverse_factor,
    triangular_inverse,
)


def _positive_definite(seed, size):
    """Four symmetric matrices, eigenvalues from about 0.1 to 10, [4, size, size]."""
    factors = np.random.default_rng(seed).normal(size=(4, size, size))
    return factors @ factors.swapaxes(1, 2) + 0.1 * np.eye(size)


def _lower(seed, size):
    """Four lower triangular matrices whose diagonals have both signs, [4, size, size]."""
    rng = np.random.default_rng(seed)
    diagonal = rng.choice([-1.0, 1.0], (4, size)) * rng.uniform(0.5, 2.0, (4, size))
    return np.tril(rng.normal(size=(4, size, size)), -1) + diagonal[:, :, None] * np.eye(size)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("size", [1, 3, 67, 257])  # the last two are halved into unequal parts
def test_inverse_and_log_det_are_numpys(float64, solver, size):
    matrices = _positive_definite(size, size)
    solve = jax.jit(jax.vmap(lambda matrix: inverse_and_log_det(matrix, solver)))
    inverse, log_det = solve(jnp.array(matrices))
    assert log_det.shape == (4,)
    np.testing.assert_allclose(inverse, np.linalg.inv(matrices), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrices)[1], rtol=1e-12)


@pytest.mark.parametrize("size", [1, 3])
def test_triangular_inverse_is_numpys(float64, size):
    matrices = _lower(size, size)
    inverse = jax.jit(jax.vmap(triangular_inverse))(jnp.array(matrices))
    np.testing.assert_allclose(inverse, np.linalg.inv(matrices), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [1, 3, 67])
def test_inverse_factor_is_triangular_and_numpys(float64, size):
    matrices = _positive_definite(size, size)
    factors = np.asarray(jax.jit(jax.vmap(inverse_factor))(jnp.array(matrices)))
    np.testing.assert_array_equal(factors, np.tril(factors))
    assert np.all(np.diagonal(factors, axis1=1, axis2=2) > 0.0)
    found = factors @ factors.swapaxes(1, 2)
    np.testing.assert_allclose(found, np.linalg.inv(matrices), rtol=1e-10, atol=1e-12)


def test_inverse_factor_stays_finite_where_rounding_spoils_the_matrix():
    """Float32, I + 1e9 vv' and its gradient; along v the deviation is 3e-5, across it 1."""
    v = np.array([0.6, -0.48, 0.64])
    matrix = jnp.array(np.eye(3) + 1e9 * np.outer(v, v), jnp.float32)
    total = lambda matrix: jnp.sum(jnp.log(jnp.diagonal(inverse_factor(matrix))))  # noqa: E731
    factor, gradient = jax.jit(lambda a: (inverse_factor(a), jax.grad(total)(a)))(matrix)
    assert np.isfinite(factor).all()
    assert np.isfinite(gradient).all()
    assert np.linalg.norm(np.asarray(factor).T @ v) < 1e-3


def test_second_derivatives(float64):
    """By finite differences of both modes, in a factor that keeps the first matrix symmetric.

    The rule is one for both solvers.
    """

    @jax.jit
    def everything(factor, lower):
        matrix = factor @ factor.T + jnp.eye(2)
        return inverse_and_log_det(matrix), triangular_inverse(lower), inverse_factor(matrix)

    factor = np.random.default_rng(2).normal(size=(2, 2))
    arguments = jnp.array(factor), jnp.array(_lower(0, 2)[0])
    check_grads(everything, arguments, order=2, modes=["rev", "fwd"])


@pytest.mark.parametrize("solver", SOLVERS)
def test_closed_form_gradients_under_vmap(float64, solver):
    """d log det A = tr(A^-1 dA) and d A^-1 = -A^-1 dA A^-1, contracted with a weight, in all."""
    matrices, lower = _positive_definite(5, 3), _lower(6, 3)
    weight = np.random.default_rng(7).normal(size=(3, 3))

    def total(matrix, lower):
        inverse, log_det = inverse_and_log_det(matrix, solver)
        return log_det + jnp.sum(weight * inverse) + jnp.sum(weight * triangular_inverse(lower))

    grads = jax.jit(jax.vmap(jax.grad(total, (0, 1))))(jnp.array(matrices), jnp.array(lower))
    transposed = np.linalg.inv(matrices).swapaxes(1, 2)
    expected = transposed - transposed @ weight @ transposed
    np.testing.assert_allclose(grads[0], expected, rtol=1e-8, atol=1e-10)
    transposed = np.linalg.inv(lower).swapaxes(1, 2)
    expected = np.tril(-transposed @ weight @ transposed)
    np.testing.assert_allclose(grads[1], expected, rtol=1e-8, atol=1e-10)


def test_entries_above_the_diagonal_are_ignored(float64):
    """In the value and in the gradient, as in a factor that a network gives."""
    matrix = _lower(0, 3)[0]
    full = matrix + np.triu(np.full((3, 3), 7.0), 1)

    @jax.jit
    @jax.value_and_grad
    def value_and_grad(matrix):
        return jnp.sum(jnp.sin(triangular_inverse(matrix)))

    value, grad = value_and_grad(full)
    assert value == value_and_grad(matrix)[0]
    np.testing.assert_array_equal(np.triu(grad, 1), 0.0)
    assert np.all(np.tril(grad)[np.tril_indices(3)] != 0.0)
