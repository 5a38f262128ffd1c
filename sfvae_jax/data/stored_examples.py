"""The examples of one split of a data set, which are read and prepared when they are indexed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sfvae_jax.data.geometry import Geometry, Shape
from sfvae_jax.data.kept_images import Origin, kept_images
from sfvae_jax.data.preprocessing import binarize_once
from sfvae_jax.data.source import SourceSplit
from sfvae_jax.errors import UsageError

# The largest array of examples, as they are after preparation, that is held in host memory.
MAX_BYTES = 8 * 2**30

log = logging.getLogger("sfvae_jax")

_READ_TOGETHER = 64  # examples that one thread reads before it takes more


class StoredExamples:
    """Examples [N, ...] that look like an array but are read only when they are indexed.

    What is returned for a position never depends on the other positions that are asked for.

    Attributes:
        shape: [N, ...], after preparation.
        dtype: uint8 in 0..255 or float32 in [0, 1] for images; int16 or float32 for sequences.
        nbytes: the memory that all of them take.
    """

    def __init__(
        self,
        split: SourceSplit,
        indices: np.ndarray,
        shape: Shape,
        geometry: Geometry,
        binarization_seed: Sequence[int] | None = None,
    ) -> None:
        """Places example `indices[i]` of a split at position i.

        Args:
            split: the split of a source from which they are read.
            indices: which of its examples, [N].
            shape: the shape of each, after the geometry.
            geometry: what is done to each.
            binarization_seed: the seed with which pixels are binarised, once; None to leave them.
        """
        self._split, self._indices = split, indices
        self._geometry, self._binarization_seed = geometry, binarization_seed
        self.shape = (len(indices), *shape)
        self.dtype = np.dtype(split.dtype if binarization_seed is None else np.uint8)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self._can_be_kept = True

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def fit_in_memory(self) -> bool:
        """Whether all of them may be held in host memory."""
        return fits_in_memory(self.nbytes)

    def all(self) -> np.ndarray:
        """Reads all of them into memory.

        Raises:
            UsageError: if they do not fit; nothing has been read.
        """
        self.check_fit()
        return self[:]

    def check_fit(self) -> None:
        """Checks that all of them may be held in memory.

        Raises:
            UsageError: saying how large they are, and what to do.
        """
        if not self.fit_in_memory:
            raise UsageError(
                f"{len(self)} examples of shape {self.shape[1:]} need {self.nbytes / 2**30:.1f} GiB"
                f" of memory, more than the limit of {MAX_BYTES / 2**30:.0f} GiB; set"
                " data.num_examples (data.num_valid or data.num_test for the other splits)"
            )

    def __getitem__(self, positions: slice | np.ndarray) -> np.ndarray:
        """Returns the examples [n, ...] at these positions, read by several threads."""
        positions = np.arange(len(self))[positions]
        if self._can_be_kept and 2 * len(positions) >= len(self._split):
            kept = self._all_of_the_split()
            if kept is not None:
                return self._binarized(kept[self._indices[positions]], positions)
            self._can_be_kept = False
        return _in_threads(self.read, positions, self.shape[1:], self.dtype)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Returns the examples [n, ...] at these positions, read by the calling thread alone.

        Raises:
            UsageError: if the shape of an image has changed since the data were opened.
        """
        return self._binarized(self._prepared(self._indices[positions]), positions)

    def _binarized(self, examples: np.ndarray, positions: np.ndarray) -> np.ndarray:
        if self._binarization_seed is None:
            return examples
        return binarize_once(examples, self._binarization_seed, positions)

    def _prepared(self, indices: np.ndarray) -> np.ndarray:
        """Returns the examples of the split at these indices, after the geometry."""
        examples = np.empty((len(indices), *self.shape[1:]), self._split.dtype)
        for example, stored in zip(examples, self._split.some(indices), strict=True):
            found = self._geometry.apply(stored)
            if found.shape != example.shape:  # one channel would be broadcast to three in silence
                raise UsageError(
                    f"an image has shape {found.shape} instead of {example.shape}: its file has"
                    " changed since the data were opened; start again, and do not change the data"
                    " during a run"
                )
            example[...] = found
        return examples

    def _all_of_the_split(self) -> np.ndarray | None:
        """Returns its images from the user's cache folder; None if they are not kept there."""
        origin = self._split.origin()
        if origin is None:
            return None
        origin = Origin(f"{origin.place} {self._geometry}", origin.state)
        shape, dtype = (len(self._split), *self.shape[1:]), np.dtype(self._split.dtype)

        def prepare(indices: np.ndarray) -> np.ndarray:
            return _in_threads(self._prepared, indices, shape[1:], dtype)

        try:
            return kept_images(origin, shape, dtype, prepare)
        except UsageError as error:  # perhaps of an image that is not asked for
            log.info("prepared images are not kept: %s", error)
            return None


def _in_threads(
    read: Callable[[np.ndarray], np.ndarray], numbers: np.ndarray, shape: Shape, dtype: np.dtype
) -> np.ndarray:
    """Returns what `read` gives for these numbers, [n, ...], called by several threads."""
    examples = np.empty((len(numbers), *shape), dtype)

    def read_some(start: int) -> None:
        together = slice(start, start + _READ_TOGETHER)
        examples[together] = read(numbers[together])

    with ThreadPoolExecutor() as pool:
        list(pool.map(read_some, range(0, len(numbers), _READ_TOGETHER)))
    return examples


def fits_in_memory(num_bytes: int) -> bool:
    """Returns whether examples of this size may be held in host memory."""
    return num_bytes <= MAX_BYTES


def check_places_fit(number: int, num_places: int, itemsize: int) -> None:
    """Checks that sequences may be held in memory, before they are laid out.

    Args:
        number: how many sequences there are.
        num_places: the places of each.
        itemsize: the bytes of a place.

    Raises:
        UsageError: saying how much memory they would need.
    """
    num_bytes = number * num_places * itemsize
    if not fits_in_memory(num_bytes):
        raise UsageError(
            f"{number} sequences of {num_places} places need {num_bytes / 2**30:.1f} GiB of memory,"
            f" more than the limit of {MAX_BYTES / 2**30:.0f} GiB; lower data.max_length"
        )
