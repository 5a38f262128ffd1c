"""Posterior collapse of hand-made posteriors with literal answers."""

import numpy as np
import pytest

from sfvae_jax.evaluation import collapse_fraction


def _kl(num_above, num_images=100):
    """[N, m]: dimension i exceeds epsilon = 0.05 on num_above[i] of the images."""
    kl = np.full((num_images, len(num_above)), 0.01)
    for i, above in enumerate(num_above):
        kl[:above, i] = 1.0
    return kl


def test_literal_answers():
    assert collapse_fraction(_kl([0, 0, 0, 0])) == 1.0
    assert collapse_fraction(_kl([100, 100, 100, 100])) == 0.0
    assert collapse_fraction(_kl([0, 100, 0, 50])) == 0.5


def test_delta_counts_images():
    """delta = 0.01 of 100 images: one may exceed epsilon, two may not."""
    assert collapse_fraction(_kl([1])) == 1.0
    assert collapse_fraction(_kl([2])) == 0.0
    assert collapse_fraction(_kl([2]), delta=0.02) == 1.0
    assert collapse_fraction(_kl([1]), delta=0.0) == 0.0
    assert collapse_fraction(_kl([0]), delta=0.0) == 1.0
    assert collapse_fraction(_kl([10, 11], num_images=1000)) == 0.5


@pytest.mark.parametrize("num_images", [7, 100, 300, 1000, 60_000])
def test_the_edge_is_exact_for_any_number_of_images(num_images):
    """delta as a whole number of images: that many pass, one more does not, for all of them."""
    for allowed in range(min(num_images - 1, 40)):
        delta = allowed / num_images
        kl = _kl([allowed, allowed + 1], num_images)
        assert collapse_fraction(kl, delta=delta) == 0.5


def test_a_divergence_of_epsilon_has_not_collapsed():
    assert collapse_fraction(np.full((10, 2), 0.05), epsilon=0.05) == 0.0
    assert collapse_fraction(np.full((10, 2), 0.0499), epsilon=0.05) == 1.0


def test_float32_gives_the_same_collapse_as_float64():
    assert collapse_fraction(_kl([1]).astype(np.float32)) == 1.0


@pytest.mark.parametrize(
    ("kl", "options", "message"),
    [
        (np.zeros(3), {}, r"non-empty \[N, m\] array"),
        (np.zeros((0, 3)), {}, r"non-empty \[N, m\] array"),
        (np.zeros((2, 3)), {"epsilon": 0.0}, "epsilon must be positive"),
        (np.zeros((2, 3)), {"delta": 1.0}, r"delta in \[0, 1\)"),
    ],
)
def test_bad_arguments_are_refused(kl, options, message):
    with pytest.raises(ValueError, match=message):
        collapse_fraction(kl, **options)
