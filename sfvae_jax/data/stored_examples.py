"""The images of one split of a data set, read and treated when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sfvae_jax.data.geometry import Geometry, Shape
from sfvae_jax.data.preprocessing import binarize_once
from sfvae_jax.data.source import SourceSplit
from sfvae_jax.errors import UsageError

MAX_BYTES = 8 * 2**30
"""What is held in the host's memory at most, as it is after preprocessing."""


def check_places_fit(number: int, num_places: int, itemsize: int) -> None:
    """Refuses sequences that may not be held in memory, before they are laid out.

    Args:
        number: of sequences.
        num_places: of each.
        itemsize: bytes of a place.

    Raises:
        UsageError: saying how much they would need.
    """
    num_bytes = number * num_places * itemsize
    if num_bytes > MAX_BYTES:
        raise UsageError(
            f"{number} sequences of {num_places} places need {num_bytes / 2**30:.1f} GiB of memory,"
            f" over the {MAX_BYTES / 2**30:.0f} GiB that are held; lower data.max_length"
        )


_READ_TOGETHER = 64  # images that one thread reads before it takes more


class StoredExamples:
    """Stored images [N, ...] that look like an array but are read only where they are indexed.

    What comes out for a position never depends on what else is asked for with it.

    Attributes:
        shape: [N, ...] after everything that is done to them.
        dtype: uint8 in 0..255, or float32 in [0, 1].
        nbytes: what all of them take in memory.
    """

    def __init__(
        self,
        split: SourceSplit,
        indices: np.ndarray,
        image_shape: Shape,
        geometry: Geometry,
        binarization_seed: Sequence[int] | None = None,
    ) -> None:
        """Example `indices[i]` of the split at position i.

        Args:
            split: where they come from.
            indices: which of its examples, [N].
            image_shape: that the geometry gives all of them.
            geometry: what is done to each.
            binarization_seed: of the one draw of their pixels; None to leave them gray.
        """
        self._split, self._indices = split, indices
        self._geometry, self._binarization_seed = geometry, binarization_seed
        self.shape = (len(indices), *image_shape)
        self.dtype = np.dtype(split.dtype if binarization_seed is None else np.uint8)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def fit_in_memory(self) -> bool:
        """Whether all of them may be held in the host's memory."""
        return self.nbytes <= MAX_BYTES

    def all(self) -> np.ndarray:
        """All of them, held in memory.

        Raises:
            UsageError: if they are too many; nothing has been read.
        """
        self.check_fit()
        return self[:]

    def check_fit(self) -> None:
        """Refuses what may not be held in memory.

        Raises:
            UsageError: saying how much there is, and what to do.
        """
        if not self.fit_in_memory:
            raise UsageError(
                f"{len(self)} images of shape {self.shape[1:]} need {self.nbytes / 2**30:.1f} GiB"
                f" of memory, more than the {MAX_BYTES / 2**30:.0f} GiB that are held at most; set"
                " data.num_examples (data.num_valid or data.num_test for the other splits)"
            )

    def __getitem__(self, positions: slice | np.ndarray) -> np.ndarray:
        """The images [n, ...] at these positions, read by several threads."""
        positions = np.arange(len(self))[positions]
        images = np.empty((len(positions), *self.shape[1:]), self.dtype)

        def read(start: int) -> None:
            together = slice(start, start + _READ_TOGETHER)
            images[together] = self.read(positions[together])

        with ThreadPoolExecutor() as pool:
            list(pool.map(read, range(0, len(positions), _READ_TOGETHER)))
        return images

    def read(self, positions: np.ndarray) -> np.ndarray:
        """The same, read by this thread alone.

        Raises:
            UsageError: if the shape of an image has changed since the data were opened.
        """
        images = np.empty((len(positions), *self.shape[1:]), self._split.dtype)
        for image, index in zip(images, self._indices[positions], strict=True):
            found = self._geometry.apply(self._split[int(index)])
            if found.shape != image.shape:  # one channel would fill three in silence
                raise UsageError(
                    f"an image has shape {found.shape} in place of {image.shape}: its file has"
                    " changed since the data were opened; start again with data that stay as they"
                    " are"
                )
            image[...] = found
        if self._binarization_seed is None:
            return images
        return binarize_once(images, self._binarization_seed, positions)
