"""What `inference_gaps` can be told, and what it measures then."""

from __future__ import annotations

import ml_collections

from sfvae_jax.data import SPLITS
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.inference_gaps.annealed_bounds import ANNEALING, Annealing
from sfvae_jax.evaluation.inference_gaps.families import FAMILIES
from sfvae_jax.evaluation.inference_gaps.gaps import BOUNDS, GAPS
from sfvae_jax.evaluation.inference_gaps.search_settings import LOCAL, LocalOptimization
from sfvae_jax.options import (
    COUNT,
    COUNT_OR_0,
    POSITIVE,
    Option,
    is_whole,
    some_of,
    tuple_of,
)

# A constant posterior has the model's own variance: without such a model there is none.
_FAMILIES = tuple(family for family in FAMILIES if family != "constant")

OPTIONS = {
    "parts": Option(("train", "test"), some_of("split", SPLITS), "that are measured"),
    "num_images": Option(1000, COUNT_OR_0, "of each part, the first; 0 = all"),
    "num_samples": Option(5000, COUNT, "of each bound of a posterior"),
    "chunk_size": Option(500, COUNT, "samples that are decoded at once"),
    "families": Option(
        ("diagonal", "full_covariance", "auxiliary_flow"),
        some_of("family", _FAMILIES, least=0),
        "that are optimised locally; the model's own is added where it can be optimised",
    ),
    "num_simulated": Option(
        100, COUNT_OR_0, "images simulated from the model, for the upper bound; 0 = none"
    ),
    "max_sandwich": Option(
        1.0, POSITIVE, "nats between the bounds of those, beyond which AIS has not mixed"
    ),
    "annealing": ANNEALING,
    "local": LOCAL,
    "pictured": Option(
        (),
        tuple_of(is_whole, "places of images, from 0"),
        "of two latents: places in the first part; (): chosen by their gaps",
    ),
}
_DIAGNOSTICS = (
    "ais_monte_carlo_error",
    "ais_effective_sample_size",
    "ais_least_effective_sample_size",
    "ais_acceptance_rate",
    "ais_least_acceptance_rate",
    "ais_step_size",
    "iwae_effective_sample_size",
)
_SIMULATED = (
    "simulated_lower_bound",
    "simulated_upper_bound",
    "simulated_sandwich",
    "simulated_sandwich_standard_error",
)


def metric_names(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """The measures of `inference_gaps` under these options, for a model whose family is listed."""
    del evaluations
    optimal = [f"optimal_{family}_bound" for family in options.families]
    steps = [f"{family}_{what}" for family in options.families for what in ("steps", "unconverged")]
    of_part = [*BOUNDS, *optimal, *GAPS]
    names = [
        name
        for part in options.parts
        for name in (
            *(f"{name}_{part}" for name in of_part),
            *(f"{name}_{part}_standard_error" for name in of_part),
            *(f"{name}_{part}" for name in (*_DIAGNOSTICS, *steps)),
        )
    ]
    names += _SIMULATED if options.num_simulated else ()
    of_encoder = ("encoder_overfitting", "encoder_overfitting_standard_error")
    of_decoder = ("decoder_overfitting", "decoder_overfitting_standard_error")
    names += of_encoder if "test" in options.parts else ()
    names += of_decoder if {"train", "test"} <= set(options.parts) else ()
    return tuple(names)


def annealing(options: ml_collections.ConfigDict) -> Annealing:
    """How AIS is run: of simulated and of stored images as many at once.

    Raises:
        UsageError: naming what cannot be.
    """
    numbers = [number for number in (options.num_images, options.num_simulated) if number]
    return Annealing(**options.annealing, images_at_once=min(numbers, default=None))


def local_optimization(options: ml_collections.ConfigDict) -> LocalOptimization:
    """How posteriors are optimised.

    Raises:
        UsageError: naming what cannot be.
    """
    return LocalOptimization(**options.local)


def check(options: ml_collections.ConfigDict) -> None:
    """Refuses options that do not fit each other.

    Raises:
        UsageError: that begins with the option's name.
    """
    most = options.num_images or float("inf")
    if not all(place < most for place in options.pictured):
        raise UsageError(
            f"pictured must be places among the num_images {options.num_images} images, from 0;"
            f" got {tuple(options.pictured)}"
        )
    try:
        local_optimization(options)
    except UsageError as error:
        raise UsageError(f"local.{error}") from error
