"""Bounds of log p(x) for the images of one split, each measured once for a trained model."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation.bounds.importance import ImportanceStatistics
from sfvae_jax.evaluation.bounds.marginal_likelihood import bounds_of
from sfvae_jax.evaluation.inference_gaps.annealed_bounds import (
    AnnealedBounds,
    forward_bounds,
    sandwich,
)
from sfvae_jax.evaluation.inference_gaps.families import FACTORISED, FAMILIES
from sfvae_jax.evaluation.inference_gaps.gaps import SplitBounds
from sfvae_jax.evaluation.inference_gaps.local_optimization import (
    LocalPosteriors,
    optimize_posteriors,
)
from sfvae_jax.evaluation.inference_gaps.options import annealing, local_optimization
from sfvae_jax.evaluation.inference_gaps.settings import LocalOptimization
from sfvae_jax.evaluation.linearization.posterior import linearized_posteriors
from sfvae_jax.evaluation.progress import Progress
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    latent_size,
    once_per_checkpoint,
    split_examples,
)
from sfvae_jax.posteriors import POSTERIORS


@dataclasses.dataclass(frozen=True)
class MeasuredSplit:
    """All that was measured on the images of one split.

    Attributes:
        images: stored images [N, ...].
        bounds: bounds of log p(x) for each image.
        annealed: the AIS bounds, and how well their chains mixed.
        importance: importance sampling with the model's posterior; None where it has no density.
        local: the optimised posteriors by family. Their field `posterior` is None unless there are
            two latents, which can be drawn: the networks of a thousand images would take gigabytes.
    """

    images: np.ndarray
    bounds: SplitBounds
    annealed: AnnealedBounds
    importance: ImportanceStatistics | None
    local: dict[str, LocalPosteriors]


@once_per_checkpoint
def measured_split(
    trained: TrainedModel, split: str, options: ml_collections.ConfigDict
) -> MeasuredSplit:
    """Returns the measurements on a split, which are taken once for a trained model.

    Args:
        trained: the model.
        split: "train", "valid" or "test".
        options: a group with the keys of `options.OPTIONS`.

    Raises:
        NotApplicable: if the model has no bound, no prior, or no examples but those evaluated.
    """
    images = split_examples(trained, split)[: options.num_images or None]
    samples = {"num_samples": options.num_samples, "chunk_size": options.chunk_size}
    annealed = forward_bounds(trained, images, annealing(options))
    has_density = POSTERIORS[trained.posterior_family].has_density
    importance = bounds_of(trained, images, **samples) if has_density else None
    full, diagonal = linearized_posteriors(trained, images)

    def lower(posterior: Any) -> np.ndarray:
        found = bounds_of(trained, images, posterior, **samples)
        return np.asarray(found.lower_bound, np.float64)

    optimal: dict[str, np.ndarray] = {}
    local: dict[str, LocalPosteriors] = {}
    factorised = None
    for family in _families(trained, options):
        settings = _settings(trained, images, family, local_optimization(options))
        found = _optimize(trained, images, family, settings, factorised)
        factorised = found.posterior if family == FACTORISED else factorised
        optimal[family] = lower(found.posterior)
        is_drawn = latent_size(trained) == 2
        local[family] = found if is_drawn else found._replace(posterior=None)
    bounds = SplitBounds(
        ais=annealed.bound,
        iwae=None if importance is None else np.asarray(importance.log_evidence, np.float64),
        lower=None if importance is None else np.asarray(importance.lower_bound, np.float64),
        optimal=optimal,
        linearized={"full_covariance": lower(full), "diagonal": lower(diagonal)},
        own_family=trained.posterior_family,
    )
    return MeasuredSplit(images, bounds, annealed, importance, local)


@once_per_checkpoint
def simulated_bounds(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> tuple[AnnealedBounds, AnnealedBounds] | None:
    """Returns the `sandwich` of images simulated from the model, or None if there are none.

    Raises:
        NotApplicable: if the model has no bound or no prior.
    """
    if not options.num_simulated:
        return None
    return sandwich(trained, options.num_simulated, annealing(options))


def _families(trained: TrainedModel, options: ml_collections.ConfigDict) -> list[str]:
    """Returns the families to optimise: those asked for, and the model's own if there are any.

    They come in the order of `FAMILIES`, as later ones start from the best factorised Gaussians.
    """
    wanted = {*options.families, trained.posterior_family} if options.families else ()
    return [family for family in FAMILIES if family in wanted]


def _settings(
    trained: TrainedModel, images: np.ndarray, family: str, settings: LocalOptimization
) -> LocalOptimization:
    """Returns a family's settings; the model's own family has the sizes that the model has."""
    if family != trained.posterior_family:
        return settings
    return dataclasses.replace(settings, **FAMILIES[family].settings_of(trained, images))


def _optimize(
    trained: TrainedModel, images: np.ndarray, family: str, settings: LocalOptimization, start: Any
) -> LocalPosteriors:
    count = len(images)
    with Progress(f"optimising {family} posteriors", count) as progress:
        return optimize_posteriors(
            trained,
            images,
            family,
            settings,
            start,
            progress=lambda share: progress.update(round(count * share)),
        )
