"""Batches: every example once an epoch, the same for the same step."""

import numpy as np
import pytest

from sfvae_jax.data import batch_indices


@pytest.mark.parametrize(("num_examples", "batch_size"), [(12, 4), (10, 4), (7, 7), (5, 1)])
def test_every_example_once_an_epoch(num_examples, batch_size):
    stream = batch_indices(0, num_examples, batch_size, 0, 3 * num_examples).ravel()
    epochs = stream[: len(stream) // num_examples * num_examples].reshape(-1, num_examples)
    assert len(epochs) >= 3
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num_examples))


def test_epochs_and_seeds_differ():
    first, second = batch_indices(0, 100, 100, 0, 2)
    other = batch_indices(1, 100, 100, 0, 1)[0]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_resumed_run_draws_the_same_batches():
    whole = batch_indices(3, 10, 4, 0, 20)
    for step in (1, 2, 5, 7, 19):
        np.testing.assert_array_equal(batch_indices(3, 10, 4, step, 20 - step), whole[step:])


@pytest.mark.parametrize("batch_size", [0, 11])
def test_bad_sizes_are_refused(batch_size):
    with pytest.raises(ValueError, match=r"batch_size must be in 1\.\.10"):
        batch_indices(0, 10, batch_size, 0, 1)
