"""Features of real and of generated images: Inception's, or those of a classifier trained here."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable

import numpy as np

from sfvae_jax.evaluation.generation import inception
from sfvae_jax.evaluation.generation.classifier import Classifier, classifier_of
from sfvae_jax.evaluation.generation.sources import generate
from sfvae_jax.evaluation.trained_model import (
    NotApplicable,
    TrainedModel,
    once,
    once_for_all_checkpoints,
    part_images,
)

log = logging.getLogger("sfvae_jax")

FEATURES = ("inception", "classifier")
REAL = "test"
USERS = ("frechet", "precision_recall")  # the evaluations that take features


def features_of(trained: TrainedModel, source: str) -> np.ndarray:
    """Features [n, d] of the images of a source, or of real ones: `REAL`, the test images.

    n is `num_images` of them all. Computed once for all evaluations of a model; Inception's of real
    images once for all checkpoints of a run.

    Raises:
        NotApplicable: if the model has no such images, or they are none to take features of.
    """
    return once(trained, ("features", source), lambda: _features(trained, source))


def num_images(trained: TrainedModel) -> int:
    """How many images of every source are compared with as many test images.

    A Frechet distance falls with their number, so that it is one for all sources: `num_samples`, or
    as many as there are test images and, where reconstructions are asked for, validation images.
    """
    evaluations = trained.config
    sources = (evaluations[name].sources for name in USERS if name in evaluations.names)
    rebuilt = any("reconstructions" in of_one for of_one in sources)
    parts = (REAL, "valid") if rebuilt else (REAL,)
    asked = evaluations.generated.num_samples
    number = min(asked, *(len(part_images(trained, part)) for part in parts))
    if number < asked:
        log.info("%d images of every source are compared; %d were asked for", number, asked)
    return number


def classifier(trained: TrainedModel) -> Classifier:
    """The classifier of the training images' labels.

    Raises:
        NotApplicable: if there are no labels, or only one.
    """
    images = as_pictures(part_images(trained, "train"))
    labels = None if trained.labels_of is None else trained.labels_of("train")
    if labels is None or len(np.unique(labels)) < 2:
        raise NotApplicable("the data set has no labels for a classifier to learn")
    return classifier_of(images, labels, steps=trained.config.generated.classifier_steps)


def classifier_accuracy(trained: TrainedModel) -> float:
    """Its share of right answers on all test images, in [0, 1]; what its features are worth.

    Raises:
        NotApplicable: if the test images have no labels.
    """
    labels = None if trained.labels_of is None else trained.labels_of(REAL)
    if labels is None:
        raise NotApplicable("the test images have no labels")
    return classifier(trained).accuracy(as_pictures(part_images(trained, REAL)), labels)


def as_pictures(images: np.ndarray) -> np.ndarray:
    """Stored images as [N, H, W, 1 or 3], in whole levels of 255.

    Raises:
        NotApplicable: if the examples are no images.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        shape = "x".join(map(str, images.shape[1:]))
        raise NotApplicable(f"features need images with 1 or 3 channels, got {shape}")
    if images.dtype == np.uint8:
        return images
    return np.round(255.0 * np.clip(images, 0.0, 1.0)).astype(np.uint8)


def _features(trained: TrainedModel, source: str) -> np.ndarray:
    number = once(trained, "num_images", lambda: num_images(trained))
    real = source == REAL
    images = part_images(trained, REAL)[:number] if real else generate(trained, source, number)
    images = as_pictures(images)
    if trained.config.generated.features == "classifier":
        return once(trained, "classifier", lambda: classifier(trained).features)(images)
    extract = _inception(trained)
    if not real:
        return extract(images)
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(images))
    key = ("features", trained.config.generated.inception_path, digest.hexdigest())
    return once_for_all_checkpoints(trained, key, lambda: extract(images))


def _inception(trained: TrainedModel) -> Callable[[np.ndarray], np.ndarray]:
    path = trained.config.generated.inception_path
    key = ("inception", path)
    weights = once_for_all_checkpoints(trained, key, lambda: inception.load_weights(path))
    return functools.partial(inception.inception_features, weights)
