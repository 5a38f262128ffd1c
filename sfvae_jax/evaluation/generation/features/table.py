"""The table of all kinds of features, by the names that a config accepts."""

from __future__ import annotations

from sfvae_jax.evaluation.generation.features.classifier import CLASSIFIER
from sfvae_jax.evaluation.generation.features.inception import INCEPTION
from sfvae_jax.evaluation.generation.features.spec import FeatureSpec

FEATURES: dict[str, FeatureSpec] = {"inception": INCEPTION, "classifier": CLASSIFIER}
