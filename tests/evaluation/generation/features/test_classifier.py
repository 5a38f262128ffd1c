"""The classifier whose features stand in for Inception's: it learns, and always the same."""

import numpy as np
import pytest

from sfvae_jax.evaluation.generation.features import classifier
from sfvae_jax.evaluation.generation.features.classifier import classifier_of, train_classifier


def _bars(rng, number, channels=1):
    """Noise with a horizontal (label 3) or a vertical bar (label 8) somewhere."""
    images = rng.integers(0, 100, (number, 8, 8, channels), np.uint8)
    labels = rng.choice([3, 8], number)
    places = rng.integers(0, 8, number)
    for image, label, place in zip(images, labels, places, strict=True):
        image[(place,) if label == 3 else (slice(None), place)] = 255
    return images, labels


def test_the_classifier_learns_any_labels_and_is_deterministic():
    rng = np.random.default_rng(0)
    images, labels = _bars(rng, 300)
    unseen, truth = _bars(rng, 200)
    trained = train_classifier(images, labels, steps=50, batch_size=32)
    assert trained.accuracy(unseen, truth) > 0.95
    assert trained.accuracy(unseen, 11 - truth) < 0.05
    assert trained.accuracy(unseen, truth + 100) == 0.0
    features = trained.features(unseen)
    assert features.shape == (200, classifier.NUM_FEATURES)
    again = train_classifier(images, labels, steps=50, batch_size=32)
    np.testing.assert_array_equal(again.features(unseen), features)
    floats = (unseen / 255.0).astype(np.float32)
    np.testing.assert_allclose(trained.features(floats), features, rtol=1e-4, atol=1e-4)


def test_large_colour_images_of_odd_size_are_accepted():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (6, 40, 21, 3), np.uint8)
    trained = train_classifier(images, np.arange(6) % 2, steps=1, batch_size=4)
    assert trained.features(images).shape == (6, classifier.NUM_FEATURES)


def test_the_classifier_is_trained_once_for_the_same_data(monkeypatch):
    calls = []

    def count(images, labels, **options):
        calls.append(options)
        return object()

    monkeypatch.setattr(classifier, "train_classifier", count)
    images, labels = _bars(np.random.default_rng(2), 10)
    first = classifier_of(images, labels, steps=5)
    assert classifier_of(images.copy(), labels.copy(), steps=5) is first
    assert len(calls) == 1
    for changed in ((images, labels, 6), (images, labels[::-1], 5), (255 - images, labels, 5)):
        classifier_of(*changed[:2], steps=changed[2])
    assert len(calls) == 4


def test_a_single_label_and_wrong_shapes_are_refused():
    images = np.zeros((4, 8, 8, 1), np.uint8)
    with pytest.raises(ValueError, match="at least two different labels"):
        train_classifier(images, np.zeros(4, int))
    with pytest.raises(ValueError, match="N labels"):
        train_classifier(images, np.zeros(3, int))
    with pytest.raises(ValueError, match=r"images \[N, H, W, C\]"):
        train_classifier(images[..., 0], np.arange(4))
