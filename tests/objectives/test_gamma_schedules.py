"""Gamma schedules: literal values at literal steps."""

import numpy as np
import pytest

from sfvae_jax import objectives


def _values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_constant():
    assert _values(objectives.constant_gamma(0.5), (0, 10, 10_000)) == [0.5, 0.5, 0.5]


def test_linear():
    schedule = objectives.linear_gamma(0.9, 0.5, 100)
    np.testing.assert_allclose(
        _values(schedule, (0, 50, 100, 200)), [0.9, 0.7, 0.5, 0.5], rtol=1e-6
    )


def test_piecewise_steps_through_figure_1():
    boundaries = objectives.equal_boundaries(5, 1000)
    assert boundaries == (200, 400, 600, 800)
    schedule = objectives.piecewise_gamma(objectives.FIGURE_1_GAMMAS, boundaries)
    steps = (0, 199, 200, 400, 600, 799, 800, 5000)
    expected = [0.95, 0.95, 0.9, 0.8, 0.67, 0.67, 0.5, 0.5]
    np.testing.assert_allclose(_values(schedule, steps), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: objectives.constant_gamma(1.01), r"gamma must lie in \[0, 1\], got 1.01"),
        (lambda: objectives.linear_gamma(0.9, -0.1, 10), r"gamma must lie in \[0, 1\]"),
        (lambda: objectives.linear_gamma(0.9, 0.5, 0), "num_steps must be positive, got 0"),
        (lambda: objectives.piecewise_gamma((0.9, 0.5), ()), "2 values need 1 boundaries, got 0"),
        (lambda: objectives.piecewise_gamma((1, 1, 0), (5, 5)), "boundaries must increase"),
        (lambda: objectives.piecewise_gamma((1, 2), (5,)), r"gamma must lie in \[0, 1\], got 2"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
