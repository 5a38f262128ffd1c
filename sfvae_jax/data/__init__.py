"""Examples (images or sequences) of a data set's train, valid and test parts."""

from __future__ import annotations

import functools

import ml_collections
import numpy as np

from sfvae_jax.data import held_out
from sfvae_jax.data.batching import BatchOrder, batch_indices
from sfvae_jax.data.fingerprint import fingerprint, is_drawn_by_hash
from sfvae_jax.data.geometry import CHANNELS, Geometry, common_shape
from sfvae_jax.data.images import StoredImages
from sfvae_jax.data.parts import Part
from sfvae_jax.data.preprocessing import (
    BINARIZATIONS,
    ROUNDING,
    as_seen,
    binarize_now,
    binarize_once,
    to_unit_interval,
)
from sfvae_jax.data.sequences import (
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
from sfvae_jax.errors import UsageError

PARTS = ("train", "valid", "test")


def open_images(
    config: ml_collections.ConfigDict, part: str, *, for_evaluation: bool = False
) -> StoredImages:
    """One part of the data set that a `data` group describes, read where it is indexed.

    `data.seed` alone decides which images each part holds, so that runs of different `seed` share
    them. Held-out images leave the training part (`held_out.split`, in which copies of one image
    stay together); then `num_examples` are drawn from what is left.

    Args:
        config: the `data` group.
        part: "train", "valid" or "test".
        for_evaluation: whether images that training binarises anew at every visit are wanted
            binarised once and for all.

    Returns:
        Images [N, ...], uint8 in 0..255 or float32 in [0, 1]; or sequences as their language has
        them, whole numbers int16 [N, T] or float32 [N, T, 2].

    Raises:
        UsageError: if the source cannot be read, has too few images, or they cannot be brought to
            one shape.
    """
    source, indices = select(config, part)
    geometry = Geometry.of(config)
    shape = common_shape(source.image_shapes, geometry.shape, config.name)
    once = ("static", "dynamic") if for_evaluation else ("static",)
    seed = [config.seed, PARTS.index(part)] if config.binarization in once else None
    return StoredImages(source, indices, shape, geometry, seed)


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
    source, indices = select(config, part)
    labels = getattr(source, "labels", None)
    return None if labels is None else labels(indices)


class Parts:
    """The parts of a data set as evaluations see them, each read once, when it is asked for."""

    def __init__(self, config: ml_collections.ConfigDict) -> None:
        self._config = config
        self.images = functools.cache(self._images)
        self.labels = functools.cache(self._labels)

    @property
    def has_labels(self) -> bool:
        """Whether its training images have any."""
        source, indices = select(self._config, "train")
        labels = getattr(source, "labels", None)
        return labels is not None and labels(indices[:1]) is not None

    def _images(self, part: str) -> np.ndarray:
        return load(self._config, part, for_evaluation=True)

    def _labels(self, part: str) -> np.ndarray | None:
        return load_labels(self._config, part)


def check_part(config: ml_collections.ConfigDict, part: str) -> None:
    """Refuses a part that the data set has not or that memory cannot hold, without reading it.

    Raises:
        UsageError: saying how to get it.
    """
    open_images(config, part, for_evaluation=True).check_fit()


def select(config: ml_collections.ConfigDict, part: str) -> tuple[Part, np.ndarray]:
    """The part of the source that holds a part of the data set, and which of its examples do.

    What a source knows besides images and labels, such as the factors of sprites, is asked of it:
    `source.factors(indices)`.

    Raises:
        UsageError: if there are not so many.
    """
    source = open_source(config)
    if part != "train" and part in source:
        return source[part], _subset(config, source[part], part)
    total = len(source["train"])
    wanted = {name: 0 if name in source else config[f"num_{name}"] for name in ("test", "valid")}
    if sum(wanted.values()) >= total:
        raise _too_few(config, total, sum(wanted.values()))
    found = held_out.split(source["train"], config.seed, [*wanted.values()])
    indices = dict(zip((*wanted, "train"), found, strict=True))
    if len(indices["train"]) < max(config.num_examples, 1):
        raise _too_few(config, total, total - len(indices["train"]))
    if not len(indices[part]):
        raise UsageError(
            f"{config.name} has no {part} part of its own; hold some {_noun(config)} out with"
            f" --config.data.num_{part}=N, or evaluate on the train part"
        )
    number = config.num_examples if part == "train" else 0
    return source["train"], indices[part][: number or None]


def _too_few(config: ml_collections.ConfigDict, total: int, num_held_out: int) -> UsageError:
    wanted = config.num_examples or "at least 1"
    return UsageError(
        f"data.num_examples: {wanted} asked for, but {config.name} has"
        f" {max(total - num_held_out, 0)} training {_noun(config)} ({total} less {num_held_out}"
        " held out); lower data.num_examples, data.num_test or data.num_valid"
    )


def _subset(config: ml_collections.ConfigDict, source: Part, part: str) -> np.ndarray:
    number, total = config[f"num_{part}"], len(source)
    if number > total:
        raise UsageError(
            f"data.num_{part}: {number} asked for, but {config.name} has {total} {part}"
            f" {_noun(config)}"
        )
    return held_out.order(source, config.seed)[: number or total]


def _noun(config: ml_collections.ConfigDict) -> str:
    return "images" if language(config) is None else "sequences"


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
    "check_part",
    "elements",
    "elements_before",
    "fingerprint",
    "fits_on_device",
    "image_batches",
    "index_batches",
    "is_drawn_by_hash",
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
