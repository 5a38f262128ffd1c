"""The optimal decoder against quadrature, a conjugate model and automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import objectives

RNG = np.random.default_rng(0)
MEANS, STDDEVS = RNG.normal(size=(7, 2)), RNG.uniform(0.3, 1.5, size=(7, 2))
X = RNG.uniform(size=(7, 2, 3))
Z = np.array([0.4, -0.3])


def _by_scipy(z):
    densities = scipy.stats.norm(MEANS, STDDEVS).pdf(z).prod(axis=1)
    return np.tensordot(densities / densities.sum(), X, 1)


def test_it_is_the_mean_weighted_by_the_densities(float64):
    found = objectives.optimal_decoder(Z, X, MEANS, STDDEVS)
    np.testing.assert_allclose(found, _by_scipy(Z), rtol=1e-12)
    shares = objectives.posterior_shares(Z, MEANS, STDDEVS)
    assert float(jnp.sum(shares)) == pytest.approx(1.0, rel=1e-12)


def test_no_other_decoder_has_a_smaller_error(float64):
    """BACK Eq. 5 by quadrature in one dimension: in every direction the error grows."""
    grid = np.linspace(-12.0, 12.0, 4001)
    means, stddevs, x = MEANS[:, :1], STDDEVS[:, :1], X[:, 0, :1]
    best = jax.vmap(lambda z: objectives.optimal_decoder(z, x, means, stddevs))(grid[:, None])
    densities = scipy.stats.norm(means, stddevs).pdf(grid[None, :])

    def error(f):
        squares = np.square(f[None, :] - x)
        return np.mean(np.trapezoid(densities * squares, grid, axis=1))

    least = error(np.asarray(best)[:, 0])
    for frequency in (0.3, 1.0, 3.0):
        change = np.sin(frequency * grid + 0.5)
        weight = np.mean(np.trapezoid(densities * change**2, grid, axis=1))
        for size in (1e-3, -1e-3, 0.5):
            found = error(np.asarray(best)[:, 0] + size * change) - least
            assert found == pytest.approx(size**2 * weight, rel=1e-6)


def test_a_gaussian_population_has_a_linear_one(float64):
    """x ~ N(0, 4) with q = N(x / 2, 0.3^2): E[x|z] = 2 z / 1.09, of 20,000 equally likely x."""
    x = 2.0 * scipy.stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None]
    for z in (-1.0, 0.2, 1.5):
        found, slope = objectives.optimal_decoder_jacobian(np.array([z]), x, 0.5 * x, 0.3)
        assert float(found[0]) == pytest.approx(2.0 * z / 1.09, rel=1e-3)
        assert float(slope[0, 0]) == pytest.approx(2.0 / 1.09, rel=5e-3)


@pytest.mark.parametrize("stddevs", [STDDEVS, STDDEVS[0], 0.7])
def test_its_jacobian_is_the_derivative(float64, stddevs):
    """BACK Eq. 7 beside automatic differentiation of Eq. 6."""
    expected = jax.jacfwd(lambda z: objectives.optimal_decoder(z, X, MEANS, stddevs))(Z)
    center, found = objectives.optimal_decoder_jacobian(Z, X, MEANS, stddevs)
    np.testing.assert_allclose(found, expected.reshape(6, 2), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(center, objectives.optimal_decoder(Z, X, MEANS, stddevs))


def test_far_from_every_code_the_nearest_one_decides():
    """Where every density is 0 in float32."""
    z = np.array([300.0, 0.0], np.float32)
    center, jacobian = objectives.optimal_decoder_jacobian(z, X, MEANS, 0.5)
    np.testing.assert_allclose(center, X[np.argmax(MEANS[:, 0])], rtol=1e-5)
    np.testing.assert_allclose(jacobian, 0.0, atol=1e-3)


def test_bfloat16_is_summed_in_float32():
    narrow = [jnp.asarray(value, jnp.bfloat16) for value in (Z, X, MEANS, STDDEVS)]
    center, jacobian = objectives.optimal_decoder_jacobian(*narrow)
    assert center.dtype == jacobian.dtype == jnp.float32
    expected, _ = objectives.optimal_decoder_jacobian(*(v.astype(jnp.float32) for v in narrow))
    np.testing.assert_allclose(center, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z": np.zeros((3, 2))}, r"z must have shape \[m\], got shape \(3, 2\)"),
        ({"means": MEANS[0]}, r"means must have shape \[N, m\], got shape \(2,\)"),
        ({"means": MEANS[:, :1]}, r"means must have shape \[N, 2\], as z has, got shape \(7, 1\)"),
        ({"x": X[:6]}, "x must hold one example for each of the 7 means"),
        ({"stddevs": STDDEVS[:, 0]}, r"stddevs must be a scalar or have shape \(2,\) or \(7, 2\)"),
        ({"stddevs": 0.0}, "stddevs must be positive, got 0.0"),
    ],
)
def test_errors_name_the_argument_that_does_not_fit(changes, message):
    arguments = {"z": Z, "x": X, "means": MEANS, "stddevs": STDDEVS, **changes}
    with pytest.raises(objectives.ArgumentError, match=message):
        objectives.optimal_decoder(**arguments)
