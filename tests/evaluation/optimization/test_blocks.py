"""Statistics of blocks of draws, against their known values."""

import numpy as np
import pytest

from sfvae_jax.evaluation.optimization import blocks


def test_products_are_summed_exactly_over_many_columns():
    vectors = np.random.default_rng(0).normal(size=(3, 2**18 + 7)).astype(np.float32)
    wide = vectors.astype(np.float64)
    np.testing.assert_allclose(blocks.gram(vectors), wide @ wide.T, rtol=1e-12, atol=1e-8)


def test_literal_values():
    """Of the vectors (1, 0), (1, 2), (3, 1): products 1, 3 and 5 off the diagonal."""
    products = blocks.gram(np.array([[1.0, 0.0], [1.0, 2.0], [3.0, 1.0]]))
    assert blocks.squared_norm_of_mean(products) == pytest.approx(3.0)
    values = np.array([1.0, 2.0, 6.0])
    mean, error = blocks.with_jackknife_error(lambda kept: float(values[kept].mean()), 3)
    assert (mean, error) == pytest.approx((3.0, np.std(values, ddof=1) / np.sqrt(3)))


def test_a_squared_norm_and_a_ratio_are_unbiased_and_their_errors_fit():
    """2,000 repetitions of 10 vectors N(mu, I); errors of their means and deviations below 4 s.e.

    The mean vector's squared norm would be too large by 5/10.
    """
    rng, mean = np.random.default_rng(1), np.array([1.0, -0.5, 2.0, 0.0, 0.3])
    found, errors = [], []
    for _ in range(2000):
        products = blocks.gram(mean + rng.normal(size=(10, 5)))
        value, error = blocks.with_jackknife_error(
            lambda kept, products=products: blocks.squared_norm_of_mean(
                products[np.ix_(kept, kept)]
            ),
            10,
        )
        found.append(value)
        errors.append(error)
    deviation = np.std(found, ddof=1)
    assert abs(np.mean(found) - mean @ mean) < 4 * deviation / np.sqrt(2000)
    # Var = 4 |mu|^2 / K + 2 D / (K (K - 1)); its estimate from 2,000 values varies by about 3%.
    assert deviation**2 == pytest.approx(4 * (mean @ mean) / 10 + 2 * 5 / 90, rel=0.12)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(deviation, rel=0.1)
