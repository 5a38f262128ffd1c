"""Examples (images or sequences) of a data set's train, valid and test splits."""

from __future__ import annotations

import ml_collections
import numpy as np

from sfvae_jax.data.batching import BatchOrder, batch_indices
from sfvae_jax.data.geometry import CHANNELS
from sfvae_jax.data.preprocessing import (
    BINARIZATIONS,
    ROUNDING,
    as_seen,
    binarize_now,
    binarize_once,
    to_unit_interval,
)
from sfvae_jax.data.source import DataSource, SourceSplit
from sfvae_jax.data.sources import (
    SOURCES,
    before,
    check_options,
    filled_in,
    language,
    open_source,
    source_of,
    value_range,
)
from sfvae_jax.data.splits import SPLITS, Splits
from sfvae_jax.data.stored_examples import StoredExamples
from sfvae_jax.data.streaming import example_batches, fits_on_device, index_batches


def open_examples(
    config: ml_collections.ConfigDict, split: str, *, for_evaluation: bool = False
) -> StoredExamples:
    """One split of the data set that a `data` group describes, as `Splits.open_examples` has it."""
    return Splits(config).open_examples(split, for_evaluation=for_evaluation)


def load(
    config: ml_collections.ConfigDict, split: str, *, for_evaluation: bool = False
) -> np.ndarray:
    """The images of `open_examples`, all of them in memory.

    Raises:
        UsageError: as that does, or if they are too many.
    """
    return open_examples(config, split, for_evaluation=for_evaluation).all()


def load_labels(config: ml_collections.ConfigDict, split: str) -> np.ndarray | None:
    """Labels [N] of the images that `load` gives, or None where the source has none."""
    return Splits(config).labels(split)


def select(config: ml_collections.ConfigDict, split: str) -> tuple[SourceSplit, np.ndarray]:
    """The split of the source that holds a split of the data set, and the indices there."""
    return Splits(config).select(split)


__all__ = [
    "BINARIZATIONS",
    "CHANNELS",
    "ROUNDING",
    "SOURCES",
    "SPLITS",
    "BatchOrder",
    "DataSource",
    "Splits",
    "StoredExamples",
    "as_seen",
    "batch_indices",
    "before",
    "binarize_now",
    "binarize_once",
    "check_options",
    "example_batches",
    "filled_in",
    "fits_on_device",
    "index_batches",
    "language",
    "load",
    "load_labels",
    "open_examples",
    "open_source",
    "select",
    "source_of",
    "to_unit_interval",
    "value_range",
]
