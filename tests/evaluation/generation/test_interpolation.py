"""Spherical interpolation by rotations, and where there is no sphere."""

import numpy as np
import pytest
from scipy.spatial import geometric_slerp

from sfvae_jax.evaluation.generation.interpolation import slerp


def test_slerp_agrees_with_scipy_on_the_sphere():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.normal(size=(2, 5))
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        t = rng.uniform(size=4)
        path = slerp(np.tile(a, (4, 1)), np.tile(b, (4, 1)), t)
        np.testing.assert_allclose(path, geometric_slerp(a, b, t), atol=1e-12)


def test_the_norm_is_interpolated_too():
    """Halfway on a quarter turn from length 2 to length 4 it is sqrt(1/2) (start + end)."""
    halfway = slerp([2.0, 0.0], [0.0, 4.0], 0.5)
    np.testing.assert_allclose(halfway, np.sqrt(0.5) * np.array([2.0, 4.0]))
    np.testing.assert_allclose(slerp([2.0, 0.0], [0.0, 4.0], 0.0), [2.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(slerp([2.0, 0.0], [0.0, 4.0], 1.0), [0.0, 4.0], atol=1e-15)


def test_parallel_opposite_and_zero_codes_are_interpolated_linearly():
    a = np.array([3.0, -4.0, 0.0])
    for b in (a, 2 * a, -a, 0 * a, a * (1 + 1e-15)):
        np.testing.assert_allclose(slerp(a, b, 0.25), 0.75 * a + 0.25 * b, atol=1e-12)
        np.testing.assert_allclose(slerp(b, a, 0.25), 0.75 * b + 0.25 * a, atol=1e-12)
    np.testing.assert_array_equal(slerp(0 * a, 0 * a, 0.5), 0 * a)
    tiny = 1e-200 * a  # its square is zero in double precision
    np.testing.assert_allclose(slerp(tiny, tiny[::-1], 0.0), tiny, rtol=1e-12)
    assert np.isfinite(slerp(1e200 * a, 1e200 * a[::-1], 0.5)).all()


@pytest.mark.parametrize("angle", [1e-12, 1e-9, 1e-7, 1e-6, 1e-5, 1e-3])
def test_slerp_is_continuous_towards_parallel_codes(angle):
    """To second order in the angle the great circle is a straight line and rotates evenly."""
    a, b = np.array([1.0, 0.0]), np.array([np.cos(angle), np.sin(angle)])
    expected = [np.cos(0.3 * angle), np.sin(0.3 * angle)]
    np.testing.assert_allclose(slerp(a, b, 0.3), expected, atol=1e-12, rtol=1e-9)


def test_codes_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="must have the same shape"):
        slerp(np.zeros((2, 3)), np.zeros(3), 0.5)
