"""The Frechet distance by SciPy's matrix root and closed forms; moments by NumPy."""

import numpy as np
import pytest
import scipy.linalg

from sfvae_jax.evaluation.generation import frechet
from sfvae_jax.evaluation.generation.frechet import Moments, frechet_distance, moments


def _gaussian(rng, d, rank=None):
    factor = rng.normal(size=(d, rank or 2 * d))
    return rng.normal(size=d), factor @ factor.T


def _by_scipy(mean1, cov1, mean2, cov2):
    root = scipy.linalg.sqrtm(cov1 @ cov2)
    return np.sum((mean1 - mean2) ** 2) + np.trace(cov1 + cov2 - 2 * root).real


@pytest.mark.parametrize("d", [1, 2, 7, 40])
def test_distances_of_random_gaussians_equal_scipys(d):
    rng = np.random.default_rng(d)
    for _ in range(3):
        pair = (*_gaussian(rng, d), *_gaussian(rng, d))
        assert frechet_distance(*pair) == pytest.approx(_by_scipy(*pair), rel=1e-9)
        swapped = (*pair[2:], *pair[:2])
        assert frechet_distance(*swapped) == pytest.approx(frechet_distance(*pair), rel=1e-12)


def test_diagonal_covariances_have_a_closed_form():
    """It is |m1 - m2|^2 + sum_i (s1_i - s2_i)^2, even if some are zero."""
    rng = np.random.default_rng(0)
    mean1, mean2 = rng.normal(size=(2, 9))
    s1, s2 = rng.uniform(0.1, 3.0, size=(2, 9))
    s1[:3] = 0.0
    s2[2:5] = 0.0
    found = frechet_distance(mean1, np.diag(s1**2), mean2, np.diag(s2**2))
    expected = np.sum((mean1 - mean2) ** 2) + np.sum((s1 - s2) ** 2)
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_gaussian_has_no_distance_from_itself():
    mean, cov = _gaussian(np.random.default_rng(1), 30)
    assert 0.0 <= frechet_distance(mean, cov, mean, cov) < 1e-10 * np.trace(cov)
    assert frechet_distance(mean, cov, mean + 2.0, cov) == pytest.approx(4.0 * 30)
    # Twice as wide: tr(C + 4 C - 4 C) = tr C.
    assert frechet_distance(mean, cov, mean, 4 * cov) == pytest.approx(np.trace(cov), rel=1e-10)


def test_singular_covariances_have_exact_distances():
    """For covariances a a' and b b' of rank one it is |a|^2 + |b|^2 - 2 |a'b|."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 50))
    zero = np.zeros(50)
    found = frechet_distance(zero, np.outer(a, a), zero, np.outer(b, b))
    assert found == pytest.approx(a @ a + b @ b - 2 * abs(a @ b), rel=1e-10)


def test_fewer_features_than_dimensions_have_a_distance():
    """Twelve features in 64 dimensions have the same distance in a basis of their span."""
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 12, 64))
    basis = np.linalg.qr(np.concatenate([first, second]).T)[0]
    found = frechet_distance(*moments(first), *moments(second))
    small = frechet_distance(*moments(first @ basis), *moments(second @ basis))
    assert found == pytest.approx(small, rel=1e-9)
    assert found > 0.0
    assert frechet_distance(*moments(first), *moments(first)) < 1e-9


def test_nearly_singular_covariances_have_exact_distances():
    """They have spectra over 16 orders of magnitude and commute: it is sum_i (s1_i - s2_i)^2."""
    rng = np.random.default_rng(4)
    basis = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    s1, s2 = np.logspace(0, -8, 20), np.logspace(-8, 0, 20)
    zero = np.zeros(20)
    found = frechet_distance(zero, basis * s1**2 @ basis.T, zero, basis * s2**2 @ basis.T)
    assert found == pytest.approx(np.sum((s1 - s2) ** 2), rel=1e-6)


def test_moments_are_the_same_in_batches_and_merged(monkeypatch):
    rng = np.random.default_rng(5)
    features = (1e3 + rng.normal(size=(100, 6))).astype(np.float32)
    mean, cov = features.mean(axis=0, dtype=np.float64), np.cov(features.T.astype(np.float64))
    monkeypatch.setattr(frechet, "_ROWS_AT_ONCE", 7)
    found_mean, found_cov = moments(features)
    np.testing.assert_allclose(found_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found_cov, cov, rtol=1e-8, atol=1e-10)
    merged = Moments.of(features[:1]).merge(Moments.of(features[1:31]))
    merged = Moments.of(features[31:]).merge(merged)
    np.testing.assert_allclose(merged.covariance(), cov, rtol=1e-8, atol=1e-10)
    assert merged.count == 100


def test_invalid_gaussians_are_refused():
    mean, cov = np.zeros(2), np.eye(2)
    with pytest.raises(ValueError, match="mean2 must have shape"):
        frechet_distance(mean, cov, np.zeros(3), cov)
    with pytest.raises(ValueError, match="covariance1 must have shape"):
        frechet_distance(mean, np.ones(2), mean, cov)
    with pytest.raises(ValueError, match="mean1 must be finite"):
        frechet_distance(mean * np.nan, cov, mean, cov)
    with pytest.raises(ValueError, match="at least two features"):
        moments(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="not empty"):
        moments(np.zeros((0, 3)))
