"""Batches for the calls of the training step: indices into examples on the device, or examples."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable

import jax
import ml_collections
import numpy as np

from sfvae_jax.data.batching import BatchOrder
from sfvae_jax.data.stored_examples import StoredExamples

SHARE_OF_DEVICE = 0.25
UNKNOWN_DEVICE_BYTES = 4 * 2**30


def fits_on_device(
    group: ml_collections.ConfigDict, examples: StoredExamples, num_parts: int = 1
) -> bool:
    """Returns whether the training examples are kept on the devices instead of being streamed.

    Args:
        group: the `data` group; if `device_bytes` is 0, they may take a quarter of a device's
            memory, or 4 GiB if the device does not report its memory.
        examples: those that training reads.
        num_parts: number of devices that hold an equal part each; 1 if each device holds them all.
    """
    limit = group.device_bytes or num_parts * _share_of_device()
    return examples.fit_in_memory and examples.nbytes <= limit


def _share_of_device() -> int:
    stats = jax.local_devices()[0].memory_stats() or {}
    total = stats.get("bytes_limit")
    return int(SHARE_OF_DEVICE * total) if total else UNKNOWN_DEVICE_BYTES


def index_batches(
    order: BatchOrder, start: int, ends: Iterable[int]
) -> Generator[np.ndarray, None, None]:
    """Yields the indices [S, b] of the batches of each call.

    Args:
        order: which examples each step sees.
        start: the number of steps taken before.
        ends: the step at which each call ends.
    """
    for end in ends:
        yield order.indices(start, end - start)
        start = end


def example_batches(
    examples: StoredExamples,
    order: BatchOrder,
    start: int,
    ends: Iterable[int],
    *,
    last: int,
    longest: int,
) -> Generator[np.ndarray, None, None]:
    """Yields the examples [S, b, ...] of the batches of each call; no others are read.

    Threads of Grain read the batches of the next call while a call runs. At most as many batches
    are read ahead as the longest call has, and one for each thread.

    Args:
        examples: those of the data set.
        order: which of them each step sees.
        start: the number of steps taken before.
        ends: the step at which each call ends.
        last: the last of these.
        longest: the largest number of steps in a call.
    """
    if start >= last:
        return
    import grain

    def read(step: int) -> np.ndarray:
        return examples.read(order.indices(step, 1)[0])

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
