"""Which examples each training step sees."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np


class BatchOrder(NamedTuple):
    """The examples that a process sees at each step: its share of every batch of a run.

    Attributes:
        seed: the seed of the permutations, as in `batch_indices`.
        num_examples: N.
        batch_size: B.
        share: which b places of each batch belong to the process; by default all B.
    """

    seed: int
    num_examples: int
    batch_size: int
    share: slice = slice(None)

    def indices(self, first_step: int, num_steps: int) -> np.ndarray:
        """Returns the indices of the examples of S steps, int32 [S, b]."""
        every = batch_indices(self.seed, self.num_examples, self.batch_size, first_step, num_steps)
        return every[:, self.share]


def batch_indices(
    seed: int, num_examples: int, batch_size: int, first_step: int, num_steps: int
) -> np.ndarray:
    """Returns the indices of the examples of consecutive steps, shuffled anew in every epoch.

    The permutations of the epochs are laid end to end and cut into batches. Thus every example is
    seen once an epoch, and none is dropped if the batch size does not divide their number; a batch
    may then span two epochs. The result depends on the step alone, so that a resumed run draws what
    an uninterrupted one would have drawn.

    Args:
        seed: the seed of the permutations, into which the number of the epoch is folded.
        num_examples: N.
        batch_size: B, at most N.
        first_step: the number of steps taken before.
        num_steps: S.

    Returns:
        int32 [S, B], each in [0, N).

    Raises:
        ValueError: if the batch size is not in 1..N.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(f"batch_size must be in 1..{num_examples}, got {batch_size}")
    start, stop = first_step * batch_size, (first_step + num_steps) * batch_size
    first_epoch, last_epoch = start // num_examples, (stop - 1) // num_examples
    stream = np.concatenate(
        [_permutation(seed, epoch, num_examples) for epoch in range(first_epoch, last_epoch + 1)]
    )
    offset = first_epoch * num_examples
    return stream[start - offset : stop - offset].reshape(num_steps, batch_size).astype(np.int32)


@functools.lru_cache(maxsize=2)  # many calls ask for a batch of the same epoch
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    permutation = np.random.default_rng([seed, epoch]).permutation(num_examples)
    permutation.setflags(write=False)
    return permutation
