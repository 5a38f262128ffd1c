"""Convolutional networks drawn by a seed, layer after layer."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
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
SIDE = 32
"""Of the images that a network takes, in pixels."""
MAX_LAYERS = 31
NUM_NETWORKS = {"train": 10_000, "test": 1_000}

_SEED = 2_024
_CLASSES = 10


@functools.cache  # every part of the data set asks for it
def networks() -> dict[str, tuple[Network, ...]]:
    """Networks (layer type, value) of 10,000 to train on and 1,000 to test, no two alike.

    Up to three blocks of one or two convolutions, each with batch_norm in every other network, and
    relu or elu, the same all through; then it may pool by 2 or 4, while at least 2 x 2 pixels are
    left of 32 x 32, and drop out. Channels stay or double from block to block. Up to two dense
    layers of falling width follow, and one of 10 units that ends.

    Values lie in [0, 1]: log2(n) / 10 of a convolution's n channels, a dense layer's n units and a
    pooling's factor n; dropout's rate; 0 of the layers that have nothing to choose.
    """
    words = _words()

    def pick(options: Sequence[T]) -> T:
        return options[next(words) % len(options)]

    distinct: dict[Network, None] = {}
    while len(distinct) < sum(NUM_NETWORKS.values()):
        distinct[_network(pick)] = None
    drawn = iter(distinct)
    return {split: tuple(itertools.islice(drawn, n)) for split, n in NUM_NETWORKS.items()}


def scaled(number: int) -> float:
    """The value log2(number) / 10 of a number in 1..1024."""
    return math.log2(number) / 10


def _words() -> Iterator[int]:
    # Raw words of a bit generator never change; the methods of a Generator may.
    bits = np.random.PCG64(_SEED)
    while True:
        yield from (bits.random_raw(4096) >> np.uint64(32)).tolist()


def _network(pick: Callable[[Sequence[T]], T]) -> Network:
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
