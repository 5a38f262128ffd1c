"""The Lanczos iteration against dense eigendecompositions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax.objectives.numerics.lanczos import krylov

FUNCTIONS = (jnp.log, jax.lax.rsqrt, jnp.reciprocal)


def _matrix(eigenvalues, seed=0):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))
    return basis * eigenvalues @ basis.T, rng.normal(size=len(eigenvalues))


def _found(matrix, start, num_steps, dtype=float):
    """b' f(A) b and f(A) b of every function; under jit and vmap, as objectives use it."""
    matrix, start = jnp.array(matrix, dtype), jnp.array(start, dtype)

    @jax.jit
    @jax.vmap
    def find(start):
        space = krylov(lambda vector: matrix @ vector, start, num_steps, smallest=1.0)
        return space, [(space.quadratic(f), space.apply(f)) for f in FUNCTIONS]

    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), find(start[None]))


def _exact(matrix, start):
    eigenvalues, vectors = np.linalg.eigh(matrix)
    found = []
    for f in (np.log, lambda x: x**-0.5, lambda x: 1.0 / x):
        image = vectors @ (f(eigenvalues) * (vectors.T @ start))
        found.append((start @ image, image))
    return found


def _close(obtained, expected, rtol):
    for found, exact in zip(obtained, expected, strict=True):
        np.testing.assert_allclose(found[0], exact[0], rtol, 1e-14)
        np.testing.assert_allclose(found[1], exact[1], rtol, rtol * np.abs(exact[1]).max() + 1e-14)


def test_as_many_steps_as_dimensions_are_exact(float64):
    """Also where more steps are asked for than the matrix has dimensions."""
    matrix, start = _matrix(np.array([1.0, 1.5, 4.0, 30.0, 200.0]))
    for num_steps in (5, 9):
        space, obtained = _found(matrix, start, num_steps)
        assert space.basis.shape == (5, 5)
        np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(5), atol=1e-13)
        _close(obtained, _exact(matrix, start), 1e-11)


@pytest.mark.parametrize("eigenvalues", [np.ones(6), np.array([1.0, 1.0, 1.0, 1.0, 3.0, 50.0])])
def test_an_exhausted_space_is_exact(float64, eigenvalues):
    """The number of different eigenvalues is enough; what follows adds nothing, and no nan."""
    matrix, start = _matrix(eigenvalues)
    space, obtained = _found(matrix, start, 6)
    rank = len(set(eigenvalues))
    np.testing.assert_allclose(np.abs(space.basis[:rank]).sum(axis=1) > 0.5, True)
    _close(obtained, _exact(matrix, start), 1e-10)


def test_from_zero_everything_is_zero(float64):
    _, obtained = _found(_matrix(np.arange(1.0, 5.0))[0], np.zeros(4), 3)
    for quadratic, image in obtained:
        assert quadratic == 0.0
        np.testing.assert_array_equal(image, np.zeros(4))


def test_the_error_has_the_stated_sign_and_falls_geometrically(float64):
    """log: too high; 1/x: too low. The bound of conjugate gradients is 4 rate^l b' A^-1 b."""
    matrix, start = _matrix(np.linspace(1.0, 25.0, 40))
    (log, _), _, (reciprocal, _) = _exact(matrix, start)
    rate = ((np.sqrt(25.0) - 1.0) / (np.sqrt(25.0) + 1.0)) ** 2
    for num_steps in (2, 7):
        _, obtained = _found(matrix, start, num_steps)
        assert 0.0 < obtained[0][0] - log < rate**num_steps * log
        assert 0.0 < reciprocal - obtained[2][0] < 4.0 * rate**num_steps * reciprocal


def test_float32_keeps_the_basis_orthogonal():
    """30 steps with a condition of 1e4, where the plain recurrence would repeat eigenvalues."""
    eigenvalues = 1.0 + np.geomspace(1e-3, 1e4, 60)
    matrix, start = _matrix(eigenvalues)
    space, obtained = _found(matrix, start, 60, jnp.float32)
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(60), atol=2e-5)
    exact = _exact(matrix, start)
    np.testing.assert_allclose(obtained[0][0], exact[0][0], rtol=2e-3)
    np.testing.assert_allclose(obtained[2][0], exact[2][0], rtol=2e-2)
