"""Examples (images or sequences) of a data set's train, valid and test parts."""

from __future__ import annotations

import ml_collections
import numpy as np

from sfvae_jax.data.batching import BatchOrder, batch_indices
from sfvae_jax.data.geometry import CHANNELS
from sfvae_jax.data.images import StoredImages
from sfvae_jax.data.opened import PARTS, Parts
from sfvae_jax.data.parts import Part
from sfvae_jax.data.preprocessing import (
    BINARIZATIONS,
    ROUNDING,
    as_seen,
    binarize_now,
    binarize_once,
    to_unit_interval,
)
from sfvae_jax.data.sequences.kinds import (
    KINDS,
    TOKENS,
    check_options,
    elements,
    elements_before,
    language,
    layer_types,
    value_range,
)
from sfvae_jax.data.sources import open_source
from sfvae_jax.data.streaming import fits_on_device, image_batches, index_batches


def open_images(
    config: ml_collections.ConfigDict, part: str, *, for_evaluation: bool = False
) -> StoredImages:
    """One part of the data set that a `data` group describes, as `Parts.open_images` has it."""
    return Parts(config).open_images(part, for_evaluation=for_evaluation)


def load(
    config: ml_collections.ConfigDict, part: str, *, for_evaluation: bool = False
) -> np.ndarray:
    """The images of `open_images`, all of them in memory.

    Raises:
        UsageError: as that does, or if they are too many.
    """
    return open_images(config, part, for_evaluation=for_evaluation).all()


def load_labels(config: ml_collections.ConfigDict, part: str) -> np.ndarray | None:
    """Labels [N] of the images that `load` gives, or None where the source has none."""
    return Parts(config).labels(part)


def select(config: ml_collections.ConfigDict, part: str) -> tuple[Part, np.ndarray]:
    """The part of the source that holds a part of the data set, and the indices there."""
    return Parts(config).select(part)


__all__ = [
    "BINARIZATIONS",
    "CHANNELS",
    "KINDS",
    "PARTS",
    "ROUNDING",
    "TOKENS",
    "BatchOrder",
    "Parts",
    "StoredImages",
    "as_seen",
    "batch_indices",
    "binarize_now",
    "binarize_once",
    "check_options",
    "elements",
    "elements_before",
    "fits_on_device",
    "image_batches",
    "index_batches",
    "language",
    "layer_types",
    "load",
    "load_labels",
    "open_images",
    "open_source",
    "select",
    "to_unit_interval",
    "value_range",
]
