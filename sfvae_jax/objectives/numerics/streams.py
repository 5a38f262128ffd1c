"""What is folded into an example's key, so that each kind of noise is independent of the others."""

from __future__ import annotations

import enum

import jax
from jax import Array


@enum.unique
class Stream(enum.IntEnum):
    """Numbered from the largest int32 down; the values decide the noise and must not change."""

    PIXELS = 2**31 - 1  # which pixels are on, where they are drawn anew in each step
    MOMENTS = 2**31 - 2  # the extra sample of BatchNorm in the decoder
    BEND = 2**31 - 3  # the step along which the decoder's bend is measured
    SIGNS = 2**31 - 4  # the probes of a control variate


def stream_key(rng: Array, stream: Stream) -> Array:
    """Returns the key of a stream.

    Args:
        rng: the key of an example.
        stream: which one.
    """
    return jax.random.fold_in(rng, int(stream))
