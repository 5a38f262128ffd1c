"""Splits of a source: images that are read one by one when they are asked for."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np


class SourceSplit(Protocol):
    """Images of one split of a source; with `labels(indices)` where there are any.

    A split that may grow has `identities` besides, uint64 [N], by which its examples are held out
    (`held_out`); one that may change under its name has `digest()`, bytes that tell whether it did.

    Attributes:
        example_shapes: every shape that an image of it may have; one alone, mostly.
        dtype: of its pixels, uint8 in 0..255 or float32 in [0, 1].
    """

    example_shapes: frozenset[tuple[int, ...]]
    dtype: np.dtype

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


class ArraySplit:
    """Stored images [N, ...] and, where given, labels [N] that are in memory."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        identities: np.ndarray | None = None,
    ) -> None:
        """These images.

        Args:
            images: [N, ...].
            labels: [N], if any.
            identities: of a source that may grow, uint64 [N] (`held_out.identities`).
        """
        self._images, self._labels, self.identities = images, labels, identities
        self.example_shapes = frozenset([images.shape[1:]])
        self.dtype = images.dtype

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._images[index]

    def labels(self, indices: np.ndarray) -> np.ndarray | None:
        """Labels of these images, or None where there are none."""
        return None if self._labels is None else self._labels[indices]

    def digest(self) -> bytes:
        """A digest of examples and labels; their order counts only if they have no identities."""
        if self.identities is None:
            columns = [self._images, self._labels]
        else:
            labels = self.identities if self._labels is None else self._labels
            order = np.lexsort((labels, self.identities))
            columns = [self.identities[order], labels[order]]
        found = hashlib.sha256()
        for column in columns:
            if column is not None:
                found.update(np.ascontiguousarray(column))
        return found.digest()
