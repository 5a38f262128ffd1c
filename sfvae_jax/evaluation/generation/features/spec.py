"""What the package knows about a kind of features of images.

To add a kind, write one file with its `FeatureSpec` and name it in the table of `table.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import ml_collections
import numpy as np

from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Measure
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import Group, require_rules

# Maps stored images [N, H, W, 1 or 3] to their features [N, d].
Extractor = Callable[[np.ndarray], np.ndarray]


def _no_measures(trained: TrainedModel) -> Measured:
    del trained
    return {}


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """One kind of features: how they are computed, and what the measures made of them are called.

    Attributes:
        extractor: maps a trained model to the extractor. It raises `NotApplicable` if the model's
            data set does not have what the features take.
        distance: what the name of the Frechet distance in these features begins with.
        precision_recall: what the names of precision and recall in these features begin with.
        is_fixed: whether the extractor follows from the config alone, and not from the data: then
            features of real images are computed once for all checkpoints.
        measures: further measures that the evaluation `frechet` takes.
        measure: maps a trained model to these measures.
        needs_labels: whether it needs labels of the training images.
        splits: the splits of the data that it reads.
        options: its options, which stand in the config group `evaluations.generated`.
        check_files: raises a `UsageError` if a file that this group names is missing.

    Raises:
        TypeError: if an option has no rule.
    """

    extractor: Callable[[TrainedModel], Extractor]
    distance: str
    precision_recall: str
    is_fixed: bool = False
    measures: tuple[Measure, ...] = ()
    measure: Callable[[TrainedModel], Measured] = _no_measures
    needs_labels: bool = False
    splits: tuple[str, ...] = ()
    options: Group = dataclasses.field(default_factory=dict)
    check_files: Callable[[ml_collections.ConfigDict], None] = lambda options: None

    def __post_init__(self) -> None:
        """Checks that every option has a rule."""
        require_rules(self.options)


def as_pictures(images: np.ndarray) -> np.ndarray:
    """Returns stored images as [N, H, W, 1 or 3], in whole levels of 255.

    Raises:
        NotApplicable: if the examples are not images.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        shape = "x".join(map(str, images.shape[1:]))
        raise NotApplicable(f"features need images with 1 or 3 channels, got {shape}")
    if images.dtype == np.uint8:
        return images
    return np.round(255.0 * np.clip(images, 0.0, 1.0)).astype(np.uint8)
