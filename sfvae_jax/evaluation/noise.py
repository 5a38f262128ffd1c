"""Keys of the noise of evaluations that belongs to no single example.

Example i takes its noise from `fold_in(trained.rng, i)`, see `TrainedModel.map_images`. Everything
else that is drawn has a stream of its own. Streams are numbered from the largest int32 down, where
no example is.
"""

from __future__ import annotations

import enum

import jax
import numpy as np
from jax import Array


class Stream(enum.IntEnum):
    """What is folded into an evaluation's key; the values decide the noise and must not change."""

    PRIOR_SAMPLES = 2**31 - 1
    ANNEALING = 2**31 - 2
    LOCAL_OPTIMIZATION = 2**31 - 3
    LOCAL_STARTS = 2**31 - 4  # of the networks that posteriors optimised one by one begin with
    GRADIENTS = 2**31 - 5
    REFERENCE_GRADIENTS = 2**31 - 6


def generator(rng: Array, number: int) -> np.random.Generator:
    """Returns a NumPy generator that is seeded by a key and a number.

    Args:
        rng: the evaluation's key, `TrainedModel.rng`.
        number: tells the generators of one evaluation apart.
    """
    key = np.asarray(jax.random.key_data(rng)).ravel()
    return np.random.default_rng([*map(int, key), number])
