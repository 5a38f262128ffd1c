"""Keys of streams of noise, each independent of the others that come from the same key."""

from __future__ import annotations

import enum

import jax
from jax import Array


@enum.unique
class ExampleStream(enum.IntEnum):
    """What is folded into an example's key in training; the values decide the noise.

    They are numbered from the largest int32 down, and must not change.
    """

    PIXELS = 2**31 - 1  # which pixels are on, where they are drawn anew in each step
    MOMENTS = 2**31 - 2  # the extra sample of BatchNorm in the decoder
    BEND = 2**31 - 3  # the step along which the decoder's bend is measured
    SIGNS = 2**31 - 4  # the probes of a control variate


def stream_key(rng: Array, stream: enum.IntEnum) -> Array:
    """Returns the key of a stream.

    Args:
        rng: the key that all streams of the enumeration share.
        stream: which one.
    """
    return jax.random.fold_in(rng, int(stream))
