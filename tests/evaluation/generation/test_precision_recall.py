"""PRD curves of known histograms and of sets whose precision and recall are known."""

import numpy as np
import pytest

from sfvae_jax.evaluation.generation.precision_recall import (
    BETA,
    max_f_beta,
    prd,
    prd_of_histograms,
)


def _f_pair(curve):
    """(recall-weighted F8, precision-weighted F1/8)."""
    return max_f_beta(*curve, BETA), max_f_beta(*curve, 1 / BETA)


def test_two_known_histograms_have_their_curve():
    """For (1/2, 1/2) and (1, 0), precision is min(l / 2, 1) and recall min(1 / 2, 1 / l)."""
    precision, recall = prd_of_histograms([0.5, 0.5], [1.0, 0.0])
    slopes = np.tan(np.linspace(0, np.pi / 2, 1001)[1:-1])
    np.testing.assert_allclose(precision[1:-1], np.minimum(slopes / 2, 1), rtol=1e-6)
    np.testing.assert_allclose(recall[1:-1], np.minimum(0.5, 1 / slopes), rtol=1e-6)


def test_a_known_curve_has_its_f_beta():
    """At its corner, precision 1 and recall 1/2, F_b = (1 + b^2) / 2 / (b^2 + 1/2)."""
    f8, f1_8 = _f_pair(prd_of_histograms([0.5, 0.5], [1.0, 0.0], num_angles=100_001))
    assert f8 == pytest.approx(32.5 / 64.5, abs=1e-4)  # 0.504: half of the modes
    assert f1_8 == pytest.approx((65 / 128) / (33 / 64), abs=1e-4)  # 0.985: none besides
    turned = _f_pair(prd_of_histograms([1.0, 0.0], [0.5, 0.5], num_angles=100_001))
    assert turned == pytest.approx((f1_8, f8), abs=1e-4)


def test_equal_histograms_score_1_and_disjoint_ones_0():
    p = np.array([0.1, 0.2, 0.7])
    assert _f_pair(prd_of_histograms(p, p)) == pytest.approx((1.0, 1.0), abs=1e-9)
    disjoint = prd_of_histograms([0.3, 0.7, 0, 0], [0, 0, 0.5, 0.5])
    assert _f_pair(disjoint) == (0.0, 0.0)


def _clusters(rng, number, modes):
    """Points around some of ten corners, far apart."""
    return 20.0 * np.eye(10)[rng.choice(modes, number)] + rng.normal(size=(number, 10))


def test_a_set_scores_1_with_itself_and_0_with_one_far_away():
    features = _clusters(np.random.default_rng(0), 300, range(10))
    assert _f_pair(prd(features, features, num_runs=2)) == pytest.approx((1.0, 1.0), abs=1e-3)
    assert _f_pair(prd(features, features + 500.0, num_runs=2)) == (0.0, 0.0)


def test_missing_modes_lower_recall_and_extra_modes_precision():
    """Half of the modes give F8 near 1/2 and F1/8 near 1; with the sets swapped, the reverse."""
    rng = np.random.default_rng(1)
    everything, half = _clusters(rng, 400, range(10)), _clusters(rng, 400, range(5))
    f8, f1_8 = _f_pair(prd(everything, half, num_runs=3))
    assert 0.4 < f8 < 0.6
    assert f1_8 > 0.85
    f8, f1_8 = _f_pair(prd(half, everything, num_runs=3))
    assert f8 > 0.85
    assert 0.4 < f1_8 < 0.6


def test_a_curve_is_deterministic_and_averages_its_runs():
    rng = np.random.default_rng(2)
    real, generated = rng.normal(size=(2, 100, 3))
    settings = {"num_angles": 101, "num_clusters": 5}
    both = prd(real, generated, num_runs=2, seed=4, **settings)
    singles = [prd(real, generated, num_runs=1, seed=seed, **settings) for seed in (4, 5)]
    np.testing.assert_allclose(both, np.mean(singles, axis=0))


def test_sets_that_cannot_be_compared_are_refused():
    features = np.zeros((30, 2))
    with pytest.raises(ValueError, match="of the same shape"):
        prd(features, features[:-1])
    with pytest.raises(ValueError, match="20 clusters need at least 20 features, got 8"):
        prd(features[:4], features[:4])
    with pytest.raises(ValueError, match=r"two histograms \[K\]"):
        prd_of_histograms([1.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="real must be probabilities"):
        prd_of_histograms([0.5, 0.6], [0.5, 0.5])
