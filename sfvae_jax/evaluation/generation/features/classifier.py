"""Features of a small classifier that is trained on the spot, on the data set's own labels.

They serve where the FID's network is not available, or where its features of photographs do not
fit the data. No measure in these features is called FID, as it only compares with others of the
same kind: the classifier depends on the training images, their labels and its options, but on no
generative model.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from sfvae_jax.data import to_unit_interval
from sfvae_jax.evaluation.generation.features.spec import Extractor, FeatureSpec, as_pictures
from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Measure
from sfvae_jax.evaluation.trained_model import TrainedModel, split_examples
from sfvae_jax.options import COUNT, Option

log = logging.getLogger("sfvae_jax")

NUM_FEATURES = 64
MAX_SIDE = 32
_BATCH = 500


class SmallClassifier(nn.Module):
    """Two convolutions of stride 2, written as patches times a matrix, and two dense layers."""

    num_classes: int

    def setup(self) -> None:
        """Defines the layers."""
        self.first, self.second = nn.Dense(32), nn.Dense(64)
        self.hidden, self.top = nn.Dense(NUM_FEATURES), nn.Dense(self.num_classes)

    def features(self, x: Array) -> Array:
        """Maps images in [0, 1], [N, H, W, C], to the last hidden layer, [N, 64]."""
        x = nn.relu(self.first(_patches(_reduce(x), 5)))
        x = nn.relu(self.second(_patches(x, 3)))
        return nn.relu(self.hidden(x.reshape(len(x), -1)))

    def __call__(self, x: Array) -> Array:
        """Returns logits [N, num_classes]."""
        return self.top(self.features(x))


def _reduce(x: Array) -> Array:
    """Resizes images with a side above `MAX_SIDE` to that, with antialiasing."""
    side = (min(x.shape[1], MAX_SIDE), min(x.shape[2], MAX_SIDE))
    return jax.image.resize(x, (len(x), *side, x.shape[-1]), "bilinear")


def _patches(x: Array, size: int) -> Array:
    """Returns patches around every other pixel, [N, H, W, C] -> [N, H/2, W/2, size^2 C].

    They are slices, since XLA's strided convolutions are slow on a CPU.
    """
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))
    slices = [x[:, i : i + height : 2, j : j + width : 2] for i in range(size) for j in range(size)]
    return jnp.concatenate(slices, axis=-1)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        variables: the variables of a `SmallClassifier`.
        classes: the labels that its outputs stand for, sorted.
    """

    variables: Any
    classes: np.ndarray

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns the last hidden layer [N, 64] for stored images [N, H, W, C]."""
        return self._map(_features, images)

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Returns the share of images that get their label; it only knows those of `classes`."""
        predicted = self.classes[np.argmax(self._map(_logits, images), axis=-1)]
        return float(np.mean(predicted == labels))

    def _map(self, function: Any, images: np.ndarray) -> np.ndarray:
        model = SmallClassifier(len(self.classes))
        starts = range(0, len(images), _BATCH)
        return np.concatenate(
            [np.asarray(function(model, self.variables, images[i : i + _BATCH])) for i in starts]
        )


@functools.partial(jax.jit, static_argnums=0)
def _features(model: SmallClassifier, variables: Any, images: Array) -> Any:
    return model.apply(variables, to_unit_interval(images), method="features")


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: SmallClassifier, variables: Any, images: Array) -> Any:
    return model.apply(variables, to_unit_interval(images))


def train_classifier(
    images: np.ndarray, labels: np.ndarray, *, steps: int = 1000, batch_size: int = 128
) -> Classifier:
    """Minimises the cross entropy by Adam, whose rate falls from 2e-3 to 0; deterministic.

    It takes some 10 MFLOP for each image and step at 28 x 28. On two CPU cores 1,000 steps took
    12 s for digits and 43 s for colour images of 32 x 32.

    Args:
        images: stored images [N, H, W, C].
        labels: labels [N] with at least two different values.
        steps: training steps.
        batch_size: images in each step, drawn with replacement.

    Raises:
        ValueError: if the images have another shape, or there are fewer than two labels.
    """
    classes, targets = np.unique(labels, return_inverse=True)
    if images.ndim != 4 or len(images) != len(targets):
        raise ValueError(f"expected images [N, H, W, C] and N labels, got shape {images.shape}")
    if len(classes) < 2:
        raise ValueError("a classifier needs at least two different labels")
    model = SmallClassifier(len(classes))
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    variables = jax.jit(model.init)(jax.random.key(0), to_unit_interval(jnp.asarray(images[:1])))

    @jax.jit
    def step(variables: Any, state: Any, batch: Array, targets: Array) -> tuple[Any, Any]:
        def loss(variables: Any) -> Array:
            logits = model.apply(variables, to_unit_interval(batch))
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))

        updates, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, updates), state

    state, rng = jax.jit(optimizer.init)(variables), np.random.default_rng(0)
    for _ in range(steps):
        drawn = rng.integers(len(images), size=batch_size)
        variables, state = step(variables, state, images[drawn], targets[drawn])
    return Classifier(jax.device_get(variables), classes)


_last: dict[str, Classifier] = {}


def classifier_of(images: np.ndarray, labels: np.ndarray, *, steps: int = 1000) -> Classifier:
    """Calls `train_classifier` once in a process for the same images, labels and steps."""
    digest = hashlib.sha256(repr((images.shape, images.dtype.str, steps)).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels).data)
    key = digest.hexdigest()
    if key not in _last:
        log.info("training a classifier for features: %d images, %d steps", len(images), steps)
        trained = train_classifier(images, labels, steps=steps)
        _last.clear()
        _last[key] = trained
    return _last[key]


def classifier(trained: TrainedModel) -> Classifier:
    """Returns the classifier of the labels of a model's training images.

    Raises:
        NotApplicable: if there are no labels, or only one.
    """
    images = as_pictures(split_examples(trained, "train"))
    labels = None if trained.labels_of is None else trained.labels_of("train")
    if labels is None or len(np.unique(labels)) < 2:
        raise NotApplicable("the data set has no labels for a classifier to learn")
    return classifier_of(images, labels, steps=trained.config.generated.classifier_steps)


def _extractor(trained: TrainedModel) -> Extractor:
    return classifier(trained).features


def _accuracy(trained: TrainedModel) -> float:
    """Returns the share of test images that get their label, which shows how good features are.

    Raises:
        NotApplicable: if the training or the test images have no labels.
    """
    labels = None if trained.labels_of is None else trained.labels_of("test")
    if labels is None:
        raise NotApplicable("the test images have no labels")
    return classifier(trained).accuracy(as_pictures(split_examples(trained, "test")), labels)


def _measure(trained: TrainedModel) -> Measured:
    try:
        return {"classifier_accuracy": _accuracy(trained)}
    except NotApplicable as reason:
        return {"classifier_accuracy": reason}


CLASSIFIER = FeatureSpec(
    _extractor,
    distance="frechet_classifier_distance",
    precision_recall="prd_classifier",
    measures=(Measure("classifier_accuracy", digits=3, better="more", split="test"),),
    measure=_measure,
    needs_labels=True,
    splits=("train",),
    options={"classifier_steps": Option(1000, COUNT, "Number of training steps of the classifier")},
)
