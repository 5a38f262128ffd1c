"""README tells the truth: its code runs, its names exist."""

import re

import jax
import numpy as np
import pytest

from sfvae_jax import objectives


@pytest.fixture
def readme(root):
    return (root / "README.md").read_text()


def test_the_example_runs_and_its_gradient_is_right(readme):
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    space = {}
    exec(code, space)
    loss, weights, batch = space["loss"], space["weights"], space["batch"]
    total = lambda w: jax.vmap(loss, (None, 0, 0, 0))(w, *batch).mean()  # noqa: E731
    direction = jax.random.normal(jax.random.key(1), weights.shape)
    slope = np.sum(space["gradient"] * direction)
    step = 1e-2 * direction
    difference = (total(weights + step) - total(weights - step)) / 2e-2
    np.testing.assert_allclose(slope, difference, rtol=0.02)


def test_the_table_of_objectives_is_that_of_the_code(readme):
    for name, info in objectives.OBJECTIVES.items():
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}` | `obj"))
        assert f"`objectives.{info.function}`" in row
        assert info.source in row
        assert info.decoder_passes.replace("num_samples", "`num_samples`") in row


def test_pictures_exist(readme, root):
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", readme)
    assert pictures
    assert all((root / picture).is_file() for picture in pictures)
