"""Convolutional networks, drawn layer by layer from a fixed seed."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Network = tuple[tuple[str, float], ...]

LAYER_TYPES = (
    "avg_pool",
    "batch_norm",
    "conv1x1",
    "conv3x3",
    "conv5x5",
    "dense",
    "dropout",
    "elu",
    "max_pool",
    "relu",
)
# The side of the images that a network takes, in pixels.
SIDE = 32
MAX_LAYERS = 31
NUM_NETWORKS = {"train": 10_000, "test": 1_000}

_SEED = 2_024
_CLASSES = 10


@functools.cache  # every split of the data set asks for it
def networks() -> dict[str, tuple[Network, ...]]:
    """Returns different networks of layers (type, value), 10,000 to train on and 1,000 to test.

    A network begins with up to three blocks of one or two convolutions. Every convolution is
    followed by batch_norm in half of the networks, and by relu or elu, the same throughout a
    network. A block may end with pooling by 2 or 4, as long as 2 x 2 pixels are left of the
    32 x 32, and with dropout. From block to block the channels stay the same or double. Up to two
    dense layers of decreasing width follow, and a last one with 10 units.

    Values lie in [0, 1]: log2(n) / 10 for a convolution with n channels, a dense layer with n units
    and pooling by n; the rate of dropout; 0 for layers without a choice.
    """
    pick = _Pick()
    distinct: dict[Network, None] = {}
    while len(distinct) < sum(NUM_NETWORKS.values()):
        distinct[_network(pick)] = None
    drawn = iter(distinct)
    return {split: tuple(itertools.islice(drawn, n)) for split, n in NUM_NETWORKS.items()}


def scaled(number: int) -> float:
    """Returns the value log2(number) / 10 of a number in 1..1024."""
    return math.log2(number) / 10


class _Pick:
    """Picks one of several options, with the next random word."""

    def __init__(self) -> None:
        self._words = _words()

    def __call__(self, options: Sequence[T]) -> T:
        return options[next(self._words) % len(options)]


def _words() -> Iterator[int]:
    # The raw words of a bit generator never change, but the methods of a Generator may.
    bits = np.random.PCG64(_SEED)
    while True:
        yield from (bits.random_raw(4096) >> np.uint64(32)).tolist()


def _network(pick: _Pick) -> Network:
    activation, pooling = pick(("relu", "elu")), pick(("max_pool", "avg_pool"))
    normalized, channels, side = pick((True, False)), pick((8, 16, 32, 64)), SIDE
    layers: list[tuple[str, float]] = []
    for _ in range(pick((1, 2, 3))):
        kernel = pick(("conv1x1", "conv3x3", "conv3x3", "conv5x5"))
        for _ in range(pick((1, 2))):
            layers.append((kernel, scaled(channels)))
            layers += [("batch_norm", 0.0)] * normalized
            layers.append((activation, 0.0))
        factor = pick((1, 2, 2, 4))
        if 1 < factor <= side // 2:
            layers.append((pooling, scaled(factor)))
            side //= factor
        layers += pick(((), (), (("dropout", 0.1),), (("dropout", 0.25),)))
        channels *= pick((1, 2))
    units = pick((128, 256, 512, 1024))
    for _ in range(pick((0, 1, 2))):
        layers += [("dense", scaled(units)), (activation, 0.0)]
        layers += pick(((), (("dropout", 0.25),), (("dropout", 0.5),)))
        units //= pick((2, 4))
    return (*layers, ("dense", scaled(_CLASSES)))
