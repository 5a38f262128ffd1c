"""Images of a data set's train, valid and test parts."""

from __future__ import annotations

import math

import ml_collections
import numpy as np

from sfvae_jax.data.batching import batch_indices
from sfvae_jax.data.preprocessing import (
    BINARIZATIONS,
    binarize_now,
    binarize_once,
    resize,
    to_unit_interval,
)
from sfvae_jax.data.sources import Part, open_source
from sfvae_jax.errors import UsageError

PARTS = ("train", "valid", "test")

MAX_BYTES = 8 * 2**30
"""Images are held in memory; more than this is refused before it is read."""


def load(
    config: ml_collections.ConfigDict, part: str, *, for_evaluation: bool = False
) -> np.ndarray:
    """One part of the data set that a `data` group describes.

    `data.seed` alone decides which images each part holds, so that runs of different `seed` share
    them. Held-out images leave the training part; then `num_examples` are drawn from what is left.

    Args:
        config: the `data` group: name, num_examples, num_valid, num_test, seed,
            image_size, binarization.
        part: "train", "valid" or "test".
        for_evaluation: whether images that training binarises anew at every visit are wanted
            binarised once and for all.

    Returns:
        Images [N, ...], uint8 in 0..255 or float32 in [0, 1].

    Raises:
        UsageError: if the source cannot be read, or has too few images.
    """
    source, indices = _select(config, part)
    images = _read(source, indices)
    if config.image_size:
        images = resize(images, config.image_size)
    once = ("static", "dynamic") if for_evaluation else ("static",)
    if config.binarization in once:
        return binarize_once(images, [config.seed, PARTS.index(part)])
    return images


def load_labels(config: ml_collections.ConfigDict, part: str) -> np.ndarray | None:
    """Labels [N] of the images that `load` gives, or None where the source has none."""
    source, indices = _select(config, part)
    labels = getattr(source, "labels", None)
    return None if labels is None else labels(indices)


def check_part(config: ml_collections.ConfigDict, part: str) -> None:
    """Refuses a part that the data set has not, without reading its images.

    Raises:
        UsageError: saying how to get it.
    """
    _select(config, part)


def _select(config: ml_collections.ConfigDict, part: str) -> tuple[Part, np.ndarray]:
    """The part of the source that holds a part of the data set, and which of its examples do."""
    source = open_source(config.name)
    if part == "test" and "test" in source:
        return source["test"], _subset(config, source["test"], config.num_test, "test")
    order = np.random.default_rng(config.seed).permutation(source["train"].shape[0])
    num_test = 0 if "test" in source else config.num_test
    held_out = num_test + config.num_valid
    available = len(order) - held_out
    if available < max(config.num_examples, 1):
        wanted = config.num_examples or "at least 1"
        raise UsageError(
            f"data.num_examples: {wanted} asked for, but {config.name} has {max(available, 0)}"
            f" training images ({len(order)} less {held_out} held out)"
        )
    indices = {
        "test": order[:num_test],
        "valid": order[num_test:held_out],
        "train": order[held_out : held_out + (config.num_examples or available)],
    }[part]
    if not len(indices):
        raise UsageError(
            f"{config.name} has no {part} part of its own; hold some images out with"
            f" --config.data.num_{part}=N, or evaluate on --config.evaluations.part=train"
        )
    return source["train"], indices


def _subset(config: ml_collections.ConfigDict, part: Part, number: int, name: str) -> np.ndarray:
    total = part.shape[0]
    if number > total:
        raise UsageError(
            f"data.num_{name}: {number} asked for, but {config.name} has {total} {name} images"
        )
    return np.random.default_rng(config.seed).permutation(total)[: number or total]


def _read(part: Part, indices: np.ndarray) -> np.ndarray:
    num_bytes = len(indices) * math.prod(part.shape[1:])
    if num_bytes > MAX_BYTES:
        raise UsageError(
            f"{len(indices)} images of shape {part.shape[1:]} need {num_bytes / 2**30:.1f} GiB of"
            f" memory, over the {MAX_BYTES / 2**30:.0f} GiB that are held; set data.num_examples"
        )
    return np.asarray(part[indices])


__all__ = [
    "BINARIZATIONS",
    "MAX_BYTES",
    "PARTS",
    "batch_indices",
    "binarize_now",
    "binarize_once",
    "check_part",
    "load",
    "load_labels",
    "open_source",
    "resize",
    "to_unit_interval",
]
