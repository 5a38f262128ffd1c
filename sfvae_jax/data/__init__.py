"""Data sets: where images and sequences come from, and how a run reads them."""

from __future__ import annotations

import ml_collections
import numpy as np

from sfvae_jax.data.batching import BatchOrder, batch_indices
from sfvae_jax.data.preprocessing import (
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
    check_data,
    filled_in,
    language,
    open_source,
    sequence_kind,
    source_of,
    value_range,
)
from sfvae_jax.data.splits import SPLITS, Splits
from sfvae_jax.data.stored_examples import StoredExamples
from sfvae_jax.data.streaming import example_batches, fits_on_device, index_batches


def open_examples(
    group: ml_collections.ConfigDict, split: str, *, for_evaluation: bool = False
) -> StoredExamples:
    """Returns a split of the data set of a `data` group, as `Splits.open_examples` does."""
    return Splits(group).open_examples(split, for_evaluation=for_evaluation)


def load(
    group: ml_collections.ConfigDict, split: str, *, for_evaluation: bool = False
) -> np.ndarray:
    """Returns the examples of `open_examples`, all of them in memory.

    Raises:
        UsageError: if `open_examples` does, or they do not fit in memory.
    """
    return open_examples(group, split, for_evaluation=for_evaluation).all()


def load_labels(group: ml_collections.ConfigDict, split: str) -> np.ndarray | None:
    """Returns the labels [N] of the examples that `load` returns; None if they have none."""
    return Splits(group).labels(split)


def select(group: ml_collections.ConfigDict, split: str) -> tuple[SourceSplit, np.ndarray]:
    """Returns the split of the source from which a split is taken, and the indices in it."""
    return Splits(group).select(split)


__all__ = [
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
    "check_data",
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
    "sequence_kind",
    "source_of",
    "to_unit_interval",
    "value_range",
]
