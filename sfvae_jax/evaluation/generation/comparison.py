"""Features of real and of generated images, which the evaluations compare.

The real images are the test images; as many images of each source are compared with them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import TypeVar

import ml_collections
import numpy as np

from sfvae_jax.data import SPLITS
from sfvae_jax.evaluation.generation.features.spec import Extractor, FeatureSpec, as_pictures
from sfvae_jax.evaluation.generation.features.table import FEATURES
from sfvae_jax.evaluation.generation.sources import SOURCES, generate
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    once_per_checkpoint,
    once_per_run,
    split_examples,
)

T = TypeVar("T")

log = logging.getLogger("sfvae_jax")

# The split of the real images. Given instead of a source, it means the real images themselves.
REAL = "test"


@once_per_checkpoint
def features_of(trained: TrainedModel, source: str) -> np.ndarray:
    """Returns features [n, d] of the images of a source or, for `REAL`, of the test images.

    n is `num_images` for all of them. Features of a source are computed once for a model; features
    of real images once for all checkpoints, if their extractor is the same for all of them.

    Raises:
        NotApplicable: if the model has no such images, or they have no features.
    """
    number = num_images(trained)
    if source != REAL:
        return _extractor(trained)(as_pictures(generate(trained, source, number)))
    images = _real_images(trained, number)
    if not feature_spec(trained.config).is_fixed:
        return _extractor(trained)(images)
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    return _fixed_features(trained, trained.config.generated, number, digest.hexdigest())


@once_per_checkpoint
def num_images(trained: TrainedModel) -> int:
    """Returns how many images of every source are compared with as many test images.

    The number is the same for all sources, since a Frechet distance falls as it grows:
    `num_samples`, or fewer if there are fewer test images or, where a source has one image for each
    image of a split, fewer images in that split.
    """
    asked, evaluations = trained.config.generated.num_samples, trained.config
    named = {
        source for name in evaluations.names for source in evaluations[name].get("sources", ())
    }
    limits = {SOURCES[source].one_each_of for source in named} - {""}
    number = min(asked, *(len(split_examples(trained, split)) for split in (REAL, *limits)))
    if number < asked:
        log.info(
            "comparing %d images of each source instead of evaluations.generated.num_samples=%d,"
            " because there are no more real images",
            number,
            asked,
        )
    return number


def feature_spec(evaluations: ml_collections.ConfigDict) -> FeatureSpec:
    """Returns the features that the group `evaluations` names."""
    return FEATURES[evaluations.generated.features]


def needed_splits(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """Returns the splits of the data that a comparison of `options.sources` reads."""
    needed = {REAL, *feature_spec(evaluations).splits}
    needed |= {split for source in options.sources for split in SOURCES[source].splits}
    return tuple(split for split in SPLITS if split in needed)


def needs_labels(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> bool:
    """Returns whether the features need labels of the training images."""
    del options
    return feature_spec(evaluations).needs_labels


def check_files(options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict) -> None:
    """Checks the files that the features need.

    Raises:
        UsageError: if one of them is missing, or not the right one.
    """
    del options
    feature_spec(evaluations).check_files(evaluations.generated)


def or_reason(measure: Callable[[], T]) -> T | NotApplicable:
    """Returns what a function returns, or the reason why it does not apply."""
    try:
        return measure()
    except NotApplicable as reason:
        return reason


def _real_images(trained: TrainedModel, number: int) -> np.ndarray:
    return as_pictures(split_examples(trained, REAL)[:number])


@once_per_run
def _fixed_features(
    trained: TrainedModel, generated: ml_collections.ConfigDict, number: int, digest: str
) -> np.ndarray:
    """Returns features of real images with this digest, whose extractor follows from the config."""
    del generated, digest
    return _extractor(trained)(_real_images(trained, number))


@once_per_checkpoint
def _extractor(trained: TrainedModel) -> Extractor:
    return feature_spec(trained.config).extractor(trained)
