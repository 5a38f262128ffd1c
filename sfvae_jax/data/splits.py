"""A data set as a run has it: its source is opened once, and what is read of it fits together."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import ml_collections
import numpy as np

from sfvae_jax.data import held_out
from sfvae_jax.data.geometry import Geometry, common_shape
from sfvae_jax.data.source import SourceSplit
from sfvae_jax.data.sources import open_source, source_of
from sfvae_jax.data.stored_examples import StoredExamples
from sfvae_jax.errors import UsageError

SPLITS = ("train", "valid", "test")
_DIGITS = 16  # of a digest in a fingerprint


class Splits:
    """The train, valid and test splits of a data set.

    The source is opened when it is first needed, and once: all splits and the fingerprint are those
    of one moment, whatever is added to a folder while a run is at work. To list a folder of many
    images takes seconds.

    `data.seed` alone decides which examples each split holds, so that runs with different `seed`
    share them. Held-out examples leave the training split (`held_out.divide`, which keeps equal
    ones together); then `num_examples` are drawn from the others.

    Attributes:
        examples: a function from the name of a split to its images as evaluations see them, all in
            memory; each split is read once.
        labels: a function from the name of a split to the labels [N] of these images, or None.
    """

    def __init__(self, config: ml_collections.ConfigDict) -> None:
        """The splits of the data set that a `data` group describes; nothing is read yet."""
        self._config = config
        self.examples = functools.cache(self._examples)
        self.labels = functools.cache(self._labels)

    @functools.cached_property
    def _source(self) -> Mapping[str, SourceSplit]:
        return open_source(self._config)

    def open_examples(self, split: str, *, for_evaluation: bool = False) -> StoredExamples:
        """The images of a split, each read when it is indexed.

        Args:
            split: "train", "valid" or "test".
            for_evaluation: whether images that training binarises anew at every visit are to be
                binarised once.

        Returns:
            Images [N, ...], uint8 in 0..255 or float32 in [0, 1]; or sequences as their language
            has them, whole numbers int16 [N, T] or float32 [N, T, 2].

        Raises:
            UsageError: if the source cannot be read, has too few images, or they cannot be brought
                to one shape.
        """
        config = self._config
        source, indices = self.select(split)
        geometry = Geometry.of(config)
        shape = common_shape(source.example_shapes, geometry.shape, config.name)
        once = ("static", "dynamic") if for_evaluation else ("static",)
        seed = [config.seed, SPLITS.index(split)] if config.binarization in once else None
        return StoredExamples(source, indices, shape, geometry, seed)

    def select(self, split: str) -> tuple[SourceSplit, np.ndarray]:
        """The split of the source that holds a split of the data set, and the indices there.

        What a source knows besides images and labels, such as the factors of sprites, is asked of
        it: `source.factors(indices)`.

        Raises:
            UsageError: if there are not enough examples.
        """
        config, source = self._config, self._source
        if split != "train" and split in source:
            return source[split], self._own(split)
        total = len(source["train"])
        wanted = {
            name: 0 if name in source else config[f"num_{name}"] for name in ("test", "valid")
        }
        if sum(wanted.values()) >= total:
            raise self._too_few(total, sum(wanted.values()))
        found = held_out.divide(source["train"], config.seed, [*wanted.values()])
        indices = dict(zip((*wanted, "train"), found, strict=True))
        if len(indices["train"]) < max(config.num_examples, 1):
            raise self._too_few(total, total - len(indices["train"]))
        if not len(indices[split]):
            raise UsageError(
                f"{config.name} has no {split} split of its own; hold some {self._noun} out with"
                f" --config.data.num_{split}=N, or evaluate on the train split"
            )
        number = config.num_examples if split == "train" else 0
        return source["train"], indices[split][: number or None]

    def check(self, split: str) -> None:
        """Refuses a split that the data set lacks or that memory cannot hold, without reading it.

        Raises:
            UsageError: saying how to get it.
        """
        self.open_examples(split, for_evaluation=True).check_fit()

    @property
    def has_labels(self) -> bool:
        """Whether the training images have labels."""
        source, indices = self.select("train")
        labels = getattr(source, "labels", None)
        return labels is not None and labels(indices[:1]) is not None

    @property
    def fingerprint(self) -> str:
        """One text that tells whether the data set has changed under its name.

        It names the splits, their numbers of examples and their digests, as in "test 10 a9f0c2...,
        train 40 3b1e77...". The digest of a folder covers the names, sizes and checksums of its
        files, so that a copy on another machine has the same; that of arrays, lines of text and
        architectures covers their content. TFDS sets, sprites and drawn expressions have none.

        Raises:
            UsageError: if the data set cannot be read.
        """
        found = []
        for name, split in sorted(self._source.items()):
            digest = getattr(split, "digest", None)
            text = "" if digest is None else f" {digest().hex()[:_DIGITS]}"
            found.append(f"{name} {len(split)}{text}")
        return ", ".join(found)

    @property
    def is_drawn_by_hash(self) -> bool:
        """Whether a hash of each training example decides if it is trained on or held out."""
        config, source = self._config, self._source
        held = any(config[f"num_{split}"] for split in ("test", "valid") if split not in source)
        drawn = bool(held or config.num_examples)
        return drawn and getattr(source["train"], "identities", None) is not None

    def _examples(self, split: str) -> np.ndarray:
        return self.open_examples(split, for_evaluation=True).all()

    def _labels(self, split: str) -> np.ndarray | None:
        source, indices = self.select(split)
        labels = getattr(source, "labels", None)
        return None if labels is None else labels(indices)

    def _own(self, split: str) -> np.ndarray:
        """The indices of a split that the source has itself."""
        config, source = self._config, self._source[split]
        number, total = config[f"num_{split}"], len(source)
        if number > total:
            raise UsageError(
                f"data.num_{split}: {number} asked for, but {config.name} has {total} {split}"
                f" {self._noun}"
            )
        return held_out.order(source, config.seed)[: number or total]

    def _too_few(self, total: int, num_held_out: int) -> UsageError:
        config = self._config
        wanted = config.num_examples or "at least 1"
        return UsageError(
            f"data.num_examples: {wanted} asked for, but {config.name} has"
            f" {max(total - num_held_out, 0)} training {self._noun} ({total} less {num_held_out}"
            " held out); lower data.num_examples, data.num_test or data.num_valid"
        )

    @property
    def _noun(self) -> str:
        return source_of(self._config.name).noun
