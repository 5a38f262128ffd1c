"""Which examples are held out of training; where a source can grow, what each example is decides.

A file that is added to a folder, or a line to a text, must not turn what was trained on into what
is tested on. Where the examples are a user's own, they are taken in the order of a hash of their
name or content and the seed, which does not depend on the others: a new one may take the place of a
test example, which is trained on from then on, but never the other way round. A source that cannot
grow is shuffled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from sfvae_jax.data.source import SourceSplit

_BYTES = 8  # of an identity


def identities(contents: Iterable[bytes]) -> np.ndarray:
    """A 64-bit hash of each content, uint64 [N]; equal contents have equal hashes."""
    digests = b"".join(hashlib.blake2b(each, digest_size=_BYTES).digest() for each in contents)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def identities_of_rows(images: np.ndarray) -> np.ndarray:
    """The identities of the examples [N, ...] of an array: hashes of their values."""
    return identities(image.tobytes() for image in images)


def order(split: SourceSplit, seed: int) -> np.ndarray:
    """The indices of a split's examples in the order in which they are taken, [N]."""
    return _ordered(split, seed)[0]


def divide(split: SourceSplit, seed: int, numbers: Sequence[int]) -> list[np.ndarray]:
    """The indices of a split's examples, divided into groups of these sizes and all others.

    Equal examples are never separated: a group also gets the copies of its last example.

    Args:
        split: of a source.
        seed: of the order.
        numbers: sizes of the groups, taken one after another; together at most all examples.
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
    """Indices of the examples in their order, and the keys by which they are sorted."""
    known = getattr(split, "identities", None)
    if known is None:
        return np.random.default_rng(seed).permutation(len(split)), np.arange(len(split))
    keys = _mixed(known ^ _mixed(np.array([seed % 2**64], np.uint64)))
    indices = np.argsort(keys, kind="stable")
    return indices, keys[indices]


def _mixed(bits: np.ndarray) -> np.ndarray:
    """SplitMix64's one-to-one mixing of 64 bits (Steele, Lea and Flood, 2014), [...]."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
