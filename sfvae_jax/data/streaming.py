"""Batches for the steps of a run: indices into images on the device, or streamed images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import jax
import ml_collections
import numpy as np

from sfvae_jax.data.batching import BatchOrder
from sfvae_jax.data.stored_examples import StoredExamples

SHARE_OF_DEVICE = 0.25
UNKNOWN_DEVICE_BYTES = 4 * 2**30


def fits_on_device(config: ml_collections.ConfigDict, images: StoredExamples) -> bool:
    """Whether images are to lie on the devices rather than be streamed to them.

    Args:
        config: the `data` group; `device_bytes` of 0 stands for a quarter of a device's memory, or
            4 GiB where the device does not tell.
        images: those that training reads.
    """
    share = config.device_bytes or _share_of_device()
    return images.fit_in_memory and images.nbytes <= share


def _share_of_device() -> int:
    stats = jax.local_devices()[0].memory_stats() or {}
    total = stats.get("bytes_limit")
    return int(SHARE_OF_DEVICE * total) if total else UNKNOWN_DEVICE_BYTES


def index_batches(order: BatchOrder, start: int, ends: Iterable[int]) -> Iterator[np.ndarray]:
    """Indices [S, b] of the batches of each call, for calls that end at these steps."""
    for end in ends:
        yield order.indices(start, end - start)
        start = end


def example_batches(
    images: StoredExamples,
    order: BatchOrder,
    start: int,
    ends: Iterable[int],
    *,
    last: int,
    longest: int,
) -> Iterator[np.ndarray]:
    """Images [S, b, ...] of the same batches, read ahead by threads of Grain; no others are read.

    While a call runs, the batches of the next are read; no more than those of the longest call
    are held besides (and one for each thread).

    Args:
        images: of the data set.
        order: which of them each step sees.
        start: steps taken before.
        ends: the steps at which calls end.
        last: the last of these.
        longest: the most steps of a call.
    """
    if start >= last:
        return
    import grain

    def read(step: int) -> np.ndarray:
        return images.read(order.indices(step, 1)[0])

    num_threads = min(os.cpu_count() or 1, 16)
    options = grain.ReadOptions(num_threads, prefetch_buffer_size=max(longest, num_threads))
    steps = grain.MapDataset.range(start, last)
    batches = iter(steps.map(read).to_iter_dataset(options))
    try:
        for end in ends:
            yield np.stack([next(batches) for _ in range(end - start)])
            start = end
    finally:
        batches.close()
