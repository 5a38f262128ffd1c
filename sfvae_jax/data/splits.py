"""The splits of a data set as a run uses them; its source is opened once."""

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

    The source is opened when it is first needed, and only once: listing a folder of many images
    takes seconds, and all splits and the fingerprint must be those of one moment, even if images
    are added to the folder during a run.

    `data.seed` alone decides which examples each split holds, so that runs with different `seed`
    share them. Held-out examples leave the training split (`held_out.divide`, which keeps equal
    examples together); `num_examples` are then drawn from the others.

    Attributes:
        examples: a function from the name of a split to its examples as evaluations see them, all
            in memory; each split is read once.
        labels: a function from the name of a split to the labels [N] of these examples, or None.
    """

    def __init__(self, group: ml_collections.ConfigDict) -> None:
        """Takes a `data` group; nothing is read yet."""
        self._group = group
        self.examples = functools.cache(self._examples)
        self.labels = functools.cache(self._labels)

    @functools.cached_property
    def _source(self) -> Mapping[str, SourceSplit]:
        return open_source(self._group)

    def open_examples(self, split: str, *, for_evaluation: bool = False) -> StoredExamples:
        """Returns the examples of a split, each of which is read when it is indexed.

        Args:
            split: "train", "valid" or "test".
            for_evaluation: whether images that training binarises anew each time are binarised
                once instead.

        Returns:
            Images [N, ...], uint8 in 0..255 or float32 in [0, 1]; or sequences of the data set's
            language, int16 [N, T] or float32 [N, T, 2].

        Raises:
            UsageError: if the source cannot be read, has too few examples, or its images do not
                come out in one shape.
        """
        group = self._group
        source, indices = self.select(split)
        geometry = Geometry.of(group)
        shape = common_shape(source.example_shapes, geometry.shape, group.name)
        once = ("static", "dynamic") if for_evaluation else ("static",)
        seed = [group.seed, SPLITS.index(split)] if group.binarization in once else None
        return StoredExamples(source, indices, shape, geometry, seed)

    def select(self, split: str) -> tuple[SourceSplit, np.ndarray]:
        """Returns the split of the source from which a split is taken, and the indices in it.

        What else a source knows of its examples can be asked of the former, as in
        `source_split.factors(indices)` for sprites.

        Raises:
            UsageError: if there are not enough examples.
        """
        group, source = self._group, self._source
        if split != "train" and split in source:
            return source[split], self._own(split)
        total = len(source["train"])
        sizes = {name: 0 if name in source else group[f"num_{name}"] for name in ("test", "valid")}
        if sum(sizes.values()) >= total:
            raise self._too_few(total, sum(sizes.values()))
        found = held_out.divide(source["train"], group.seed, [*sizes.values()])
        indices = dict(zip((*sizes, "train"), found, strict=True))
        if not len(indices["train"]):
            raise UsageError(
                f"data.num_test and data.num_valid leave no {self._noun} of {group.name} for"
                f" training, because equal {self._noun} are held out together; lower them, or give"
                f" more different {self._noun}"
            )
        if len(indices["train"]) < max(group.num_examples, 1):
            raise self._too_few(total, total - len(indices["train"]))
        if not len(indices[split]):
            instead = ", or measure on the training images with --config.evaluations.part=train"
            raise UsageError(
                f"{group.name} has no {split} split of its own; hold some {self._noun} out with"
                f" --config.data.num_{split}=N{instead if split == 'test' else ''}"
            )
        number = group.num_examples if split == "train" else 0
        return source["train"], indices[split][: number or None]

    def check(self, split: str) -> None:
        """Checks that a split exists and fits in memory; reads no example.

        Raises:
            UsageError: saying what to do if it does not.
        """
        self.open_examples(split, for_evaluation=True).check_fit()

    @property
    def has_labels(self) -> bool:
        """Whether the training examples have labels."""
        source, indices = self.select("train")
        return source.labels(indices[:1]) is not None

    @property
    def fingerprint(self) -> str:
        """A text that differs once the data set has changed under its name.

        It names the splits of the source, their sizes and their digests, as in "test 10 a9f0c2...,
        train 40 3b1e77...". The digest of a folder covers the names, sizes and checksums of its
        files, so that a copy on another machine has the same; that of arrays, lines of text and
        architectures covers their content. TFDS sets, sprites and drawn expressions have none.

        Raises:
            UsageError: if the data set cannot be read.
        """
        found = []
        for name, split in sorted(self._source.items()):
            digest = split.digest().hex()[:_DIGITS]
            found.append(f"{name} {len(split)} {digest}".rstrip())
        return ", ".join(found)

    @property
    def is_drawn_by_hash(self) -> bool:
        """Whether a hash of each training example decides if it is trained on or held out."""
        group, source = self._group, self._source
        held = any(group[f"num_{split}"] for split in ("test", "valid") if split not in source)
        return bool(held or group.num_examples) and source["train"].identities is not None

    def _examples(self, split: str) -> np.ndarray:
        return self.open_examples(split, for_evaluation=True).all()

    def _labels(self, split: str) -> np.ndarray | None:
        source, indices = self.select(split)
        return source.labels(indices)

    def _own(self, split: str) -> np.ndarray:
        """Returns the indices in a split that the source itself has."""
        group, source = self._group, self._source[split]
        number, total = group[f"num_{split}"], len(source)
        if number > total:
            raise UsageError(
                f"data.num_{split} is {number}, but {group.name} has only {total} {split}"
                f" {self._noun}"
            )
        return held_out.order(source, group.seed)[: number or total]

    def _too_few(self, total: int, num_held_out: int) -> UsageError:
        group, noun = self._group, self._noun
        if num_held_out >= total:
            return UsageError(
                f"data.num_test and data.num_valid would hold out all {total} {noun} of"
                f" {group.name}, leaving none for training; lower them"
            )
        held_out = f" besides the {num_held_out} that are held out" if num_held_out else ""
        fewer = ", or hold out fewer by data.num_test and data.num_valid" if num_held_out else ""
        return UsageError(
            f"data.num_examples is {group.num_examples}, but {group.name} has only"
            f" {total - num_held_out} training {noun}{held_out}; lower it, or set it to 0 for all"
            f" of them{fewer}"
        )

    @property
    def _noun(self) -> str:
        return source_of(self._group.name).noun
