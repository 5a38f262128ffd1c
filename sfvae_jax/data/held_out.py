"""Which examples are held out of training.

A file that is added to a folder, or a line to a text file, must never turn a training example into
a test example. Sources whose examples can change in number are therefore ordered by a hash of each
example's name or content and the seed, which does not depend on the other examples: a new example
may take the place of a test example, which is trained on from then on, but never the other way
round. All other sources are shuffled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from sfvae_jax.data.source import SourceSplit

_BYTES = 8  # of an identity


def identities(contents: Iterable[bytes]) -> np.ndarray:
    """Returns a 64-bit hash of each content, uint64 [N]; equal contents have equal hashes."""
    digests = b"".join(hashlib.blake2b(each, digest_size=_BYTES).digest() for each in contents)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def identities_of_rows(images: np.ndarray) -> np.ndarray:
    """Returns a hash of the values of each example of an array [N, ...], uint64 [N]."""
    return identities(image.tobytes() for image in images)


def order(split: SourceSplit, seed: int) -> np.ndarray:
    """Returns the indices [N] of a split's examples in the order in which they are taken."""
    return _ordered(split, seed)[0]


def divide(split: SourceSplit, seed: int, numbers: Sequence[int]) -> list[np.ndarray]:
    """Divides the indices of a split's examples into groups.

    Equal examples are never separated: a group also takes the copies of its last example.

    Args:
        split: the split of a source.
        seed: the seed of the order in which examples are taken.
        numbers: the sizes of the groups, which are filled one after another.

    Returns:
        The indices of each group, and last those of all other examples.
    """
    indices, keys = _ordered(split, seed)
    found, start = [], 0
    for number in numbers:
        end = start + number
        if start < end < len(keys):
            end = int(np.searchsorted(keys, keys[end - 1], side="right"))
        found.append(indices[start:end])
        start = max(start, end)
    return [*found, indices[start:]]


def _ordered(split: SourceSplit, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the examples in order, and the sorted keys."""
    known = split.identities
    if known is None:
        return np.random.default_rng(seed).permutation(len(split)), np.arange(len(split))
    keys = _mixed(known ^ _mixed(np.array([seed % 2**64], np.uint64)))
    indices = np.argsort(keys, kind="stable")
    return indices, keys[indices]


def _mixed(bits: np.ndarray) -> np.ndarray:
    """Mixes 64 bits one-to-one as SplitMix64 does (Steele, Lea and Flood, 2014); [...]."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
