"""Pictures show what they are given; their look is for eyes."""

import numpy as np
import pytest

from sfvae_jax.evaluation import pictures


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28, 1), (28, 28)),
        ((8, 6, 3), (8, 6, 3)),
        ((5, 4), (5, 4)),
        ((784,), (28, 28)),
        ((10,), (1, 10)),
        ((4, 4, 2), (1, 32)),
    ],
)
def test_any_example_becomes_a_picture(shape, expected):
    assert pictures.as_picture(np.zeros(shape)).shape == expected


def test_values_are_clipped_not_stretched():
    picture = pictures.as_picture(np.array([[-1.0, 0.25], [0.5, 7.0]]))
    np.testing.assert_array_equal(picture, [[0.0, 0.25], [0.5, 1.0]])


def test_nothing_half_written(tmp_path):
    figure = pictures.new_figure(2, 2)
    pictures.save(figure, tmp_path / "new" / "a.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
