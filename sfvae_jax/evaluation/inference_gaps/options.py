"""Options of the evaluation `inference_gaps`, and the settings that follow from them."""

from __future__ import annotations

import ml_collections

from sfvae_jax.data import SPLITS
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.inference_gaps.families import FAMILIES
from sfvae_jax.evaluation.inference_gaps.settings import (
    ANNEALING,
    LOCAL,
    Annealing,
    LocalOptimization,
)
from sfvae_jax.options import (
    COUNT,
    COUNT_OR_0,
    POSITIVE,
    Group,
    Option,
    is_whole,
    some_of,
    tuple_of,
)
from sfvae_jax.posteriors import POSTERIORS

# Without a model that has it, nobody knows the variance of a family that fixes it.
_SEARCHED = tuple(name for name in FAMILIES if not POSTERIORS[name].fixed_variance)

OPTIONS: Group = {
    "parts": Option(("train", "test"), some_of("split", SPLITS), "Splits to measure"),
    "num_images": Option(
        1000, COUNT_OR_0, "Number of images of each split to measure, from the first; 0 = all"
    ),
    "num_samples": Option(5000, COUNT, "Number of samples per image for each bound of a posterior"),
    "chunk_size": Option(
        500, COUNT, "Number of samples that are decoded at once; more take more memory"
    ),
    "families": Option(
        ("diagonal", "full_covariance", "auxiliary_flow"),
        some_of("family", _SEARCHED, least=0),
        "Posterior families to optimise for each image; the model's own is added if there are any",
    ),
    "num_simulated": Option(
        100, COUNT_OR_0, "Number of images simulated from the model, for an upper bound; 0 = none"
    ),
    "max_sandwich": Option(
        1.0,
        POSITIVE,
        "Largest difference between the bounds of simulated images, in nats, at which AIS counts"
        " as mixed",
    ),
    "annealing": ANNEALING,
    "local": LOCAL,
    "pictured": Option(
        (),
        tuple_of(is_whole, "indices of images, from 0"),
        "Indices of the images to draw if there are two latents; () = chosen by their gaps",
    ),
}


def annealing(options: ml_collections.ConfigDict) -> Annealing:
    """Returns the settings of AIS, with the same number at once of stored and simulated images.

    Raises:
        UsageError: if a setting breaks the rule of its option.
    """
    numbers = [number for number in (options.num_images, options.num_simulated) if number]
    return Annealing(**options.annealing, images_at_once=min(numbers, default=None))


def local_optimization(options: ml_collections.ConfigDict) -> LocalOptimization:
    """Returns the settings of the search for each image's best posterior.

    Raises:
        UsageError: if a setting breaks the rule of its option, or two do not fit each other.
    """
    return LocalOptimization(**options.local)


def check(options: ml_collections.ConfigDict) -> None:
    """Checks that the options fit each other.

    Raises:
        UsageError: if they do not; the message begins with the name of an option.
    """
    most = options.num_images or float("inf")
    if not all(place < most for place in options.pictured):
        raise UsageError(
            f"pictured must be indices from 0 to num_images - 1 = {options.num_images - 1}, got"
            f" {tuple(options.pictured)}"
        )
    try:
        local_optimization(options)
    except UsageError as error:
        raise UsageError(f"local.{error}") from error
