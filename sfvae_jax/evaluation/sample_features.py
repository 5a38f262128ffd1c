"""Features of real and of generated images: Inception's, or those of a classifier trained here."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import ml_collections
import numpy as np

from sfvae_jax.evaluation import inception
from sfvae_jax.evaluation.classifier import Classifier, classifier_of
from sfvae_jax.evaluation.codes import NotApplicable, TrainedModel
from sfvae_jax.evaluation.generation import generate, once, part_images

log = logging.getLogger("sfvae_jax")

FEATURES = ("inception", "classifier")
REAL = "test"


def features_of(
    trained: TrainedModel, options: ml_collections.ConfigDict, source: str
) -> np.ndarray:
    """Features [n, d] of the images of a source, or of real ones: `REAL`, the test images.

    At most `num_samples`, and fewer where there are fewer images. Computed once for all evaluations
    of a model that ask with the same options.

    Raises:
        NotApplicable: if the model has no such images, or they are none to take features of.
    """
    asked = tuple((k, v) for k, v in options.items() if k != "sources")
    return once(trained, ("features", source, asked), lambda: _features(trained, options, source))


def classifier(trained: TrainedModel, options: ml_collections.ConfigDict) -> Classifier:
    """The classifier of the training images' labels.

    Raises:
        NotApplicable: if there are no labels, or only one.
    """
    images = as_pictures(part_images(trained, "train"))
    labels = None if trained.labels_of is None else trained.labels_of("train")
    if labels is None or len(np.unique(labels)) < 2:
        raise NotApplicable("the data set has no labels for a classifier to learn")
    return classifier_of(images, labels, steps=options.classifier_steps)


def classifier_accuracy(trained: TrainedModel, options: ml_collections.ConfigDict) -> float:
    """Its share of right answers on all test images, in [0, 1]; what its features are worth.

    Raises:
        NotApplicable: if the test images have no labels.
    """
    labels = None if trained.labels_of is None else trained.labels_of(REAL)
    if labels is None:
        raise NotApplicable("the test images have no labels")
    return classifier(trained, options).accuracy(as_pictures(part_images(trained, REAL)), labels)


def as_pictures(images: np.ndarray) -> np.ndarray:
    """Stored images as [N, H, W, 1 or 3], in whole levels of 255.

    Raises:
        NotApplicable: if the examples are no images.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        shape = "x".join(map(str, images.shape[1:]))
        raise NotApplicable(f"features are of images with 1 or 3 channels, not of {shape}")
    if images.dtype == np.uint8:
        return images
    return np.round(255.0 * np.clip(images, 0.0, 1.0)).astype(np.uint8)


def _features(trained: TrainedModel, options: ml_collections.ConfigDict, source: str) -> np.ndarray:
    number = options.num_samples
    real = source == REAL
    images = part_images(trained, REAL)[:number] if real else generate(trained, source, options)
    if len(images) < number:
        log.info("%s: %d images; %d were asked for", source, len(images), number)
    pictures = as_pictures(images)
    return _extractor(trained, options)(pictures)


def _extractor(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Callable[[np.ndarray], np.ndarray]:
    if options.features == "classifier":
        return once(
            trained,
            ("classifier", options.classifier_steps),
            lambda: classifier(trained, options).features,
        )
    weights = once(
        trained,
        ("inception", options.inception_path),
        lambda: inception.load_weights(options.inception_path),
    )
    return functools.partial(inception.inception_features, weights)
