"""The random keys of a seed."""

import jax
import numpy as np
import pytest

from sfvae_jax.training.state import make_keys


@pytest.mark.parametrize("seed", [0, 3, -1, 2**31 + 5, 2**32 - 1])
def test_the_keys_of_a_seed_are_the_parts_of_jax_s_key(seed):
    expected = jax.random.split(jax.random.key(seed), 3)
    for key, part in zip(make_keys(seed), expected, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(part))
