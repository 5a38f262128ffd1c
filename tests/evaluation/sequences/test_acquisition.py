"""Expected improvement, its gradient and batches, against integrals, differences and refits."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from sklearn.gaussian_process import GaussianProcessRegressor

from sfvae_jax.evaluation.sequences import acquisition as bayesian


def _known(seed, size=3, number=40):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(number, size))
    return rng, codes, np.sin(2 * codes[:, 0]) - np.sum(codes[:, 1:] ** 2, axis=1)


@pytest.mark.parametrize(("mean", "stddev", "best"), [(0.3, 0.5, 0.0), (-1.0, 0.7, 1.0)])
def test_expected_improvement_is_the_integral(mean, stddev, best):
    density = scipy.stats.norm(mean, stddev).pdf
    integral, _ = scipy.integrate.quad(lambda f: (f - best) * density(f), best, best + 12)
    u = (mean - best) / stddev
    closed = (mean - best) * scipy.stats.norm.cdf(u) + stddev * scipy.stats.norm.pdf(u)
    found = bayesian.expected_improvement(np.array([mean]), np.array([stddev]), best)
    assert found == pytest.approx(integral, rel=1e-6)
    assert found == pytest.approx(closed, rel=1e-12)


def test_the_gradient_matches_differences():
    rng, codes, targets = _known(0)
    process = bayesian.fit_process(rng, codes, targets)
    points, best = 0.7 * rng.normal(size=(5, 3)), float(np.median(process.predict(codes)))
    values, gradient = bayesian.log_improvement(process, points, best)
    mean, stddev = process.predict(points, return_std=True)
    expected = np.log(bayesian.expected_improvement(mean, stddev, best))
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    for axis in range(3):
        step = 1e-5 * np.eye(3)[axis]
        above, _ = bayesian.log_improvement(process, points + step, best)
        below, _ = bayesian.log_improvement(process, points - step, best)
        np.testing.assert_allclose(gradient[:, axis], (above - below) / 2e-5, rtol=1e-3, atol=1e-4)


def test_the_process_is_fitted_to_targets_of_any_scale():
    rng, codes, targets = _known(1, number=120)
    process = bayesian.fit_process(rng, codes[:90], 1e3 * targets[:90] + 5e4)
    predicted = process.predict(codes[90:])
    assert np.corrcoef(predicted, targets[90:])[0, 1] > 0.95
    constant = bayesian.fit_process(rng, codes, np.ones(120))
    np.testing.assert_allclose(constant.predict(codes), 0.0, atol=1e-9)


def test_a_batch_follows_the_constant_liar():
    """For each point, scikit-learn fits the process again to the lies so far."""
    rng, codes, targets = _known(2)
    process = bayesian.fit_process(rng, codes, targets)
    pool, best = rng.normal(size=(60, 3)), float(process.predict(codes).max())
    chosen = bayesian._greedy(process, pool, best, 6)
    points, told = codes, process.y_train_
    noise = np.full(len(codes), process.alpha)
    for number, place in enumerate(chosen):
        refitted = GaussianProcessRegressor(process.kernel_, alpha=noise, optimizer=None)
        mean, stddev = refitted.fit(points, told).predict(pool, return_std=True)
        stddev = np.maximum(stddev, 1e-6)
        improvement = bayesian.expected_improvement(mean, stddev, best)
        improvement[chosen[:number]] = -1.0
        assert place == np.argmax(improvement)
        points, told = np.concatenate([points, pool[[place]]]), np.append(told, best)
        noise = np.append(noise, 1e-9)
    assert len(set(chosen)) == 6


def test_batches_stay_in_the_box_and_are_reproducible():
    _, codes, targets = _known(3)
    first, again = (
        bayesian.suggest_batch(np.random.default_rng(5), 7 * codes, targets, 20) for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (20, 3)
    slack = 1e-9
    assert np.all(first >= 7 * codes.min(axis=0) - slack)
    assert np.all(first <= 7 * codes.max(axis=0) + slack)
    assert len(np.unique(first.round(6), axis=0)) == 20


def test_equal_codes_leave_no_choice():
    rng = np.random.default_rng(0)
    batch = bayesian.suggest_batch(rng, np.ones((5, 2)), np.arange(5.0), 3)
    np.testing.assert_allclose(batch, np.ones((3, 2)))
