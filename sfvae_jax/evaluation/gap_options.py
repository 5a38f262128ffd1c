"""What `inference_gaps` can be told, and what it measures then."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from sfvae_jax.data import PARTS
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.annealed_bounds import Annealing
from sfvae_jax.evaluation.gap_measures import BOUNDS, GAPS
from sfvae_jax.evaluation.local_families import FAMILIES
from sfvae_jax.evaluation.local_optimization import LocalOptimization

OPTIONS: dict[str, Any] = {
    "parts": ("train", "test"),
    "num_images": 1000,  # of each part, the first; 0 = all
    "num_samples": 5000,  # of each bound of a posterior
    "chunk_size": 500,  # samples decoded at once
    # Locally optimised families; the model's own is added where it can be optimised.
    "families": ("diagonal", "full_covariance", "auxiliary_flow"),
    "num_simulated": 100,  # images simulated from the model, for the upper bound; 0 = none
    "max_sandwich": 1.0,  # nats between the bounds of those, beyond which AIS has not mixed
    "annealing": dataclasses.asdict(Annealing()),
    "local": {
        key: value
        for key, value in dataclasses.asdict(LocalOptimization()).items()
        if key != "constant_stddev"  # the model's
    },
    "pictured": (),  # of two latents: places in the first part; empty: chosen by their gaps
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
    """How AIS is run.

    Raises:
        UsageError: naming what cannot be.
    """
    return Annealing(**options.annealing)


def local_optimization(options: ml_collections.ConfigDict) -> LocalOptimization:
    """How posteriors are optimised.

    Raises:
        UsageError: naming what cannot be.
    """
    return LocalOptimization(**options.local)


def check(options: ml_collections.ConfigDict) -> None:
    """Refuses options that cannot be run with.

    Raises:
        UsageError: that begins with the option's name.
    """
    _check_choice(options, "parts", PARTS)
    if not options.parts:
        raise UsageError(f"parts must be at least one of {', '.join(PARTS)}")
    # A constant posterior has the model's own variance: without such a model there is none.
    _check_choice(options, "families", [family for family in FAMILIES if family != "constant"])
    least_values = {"num_images": 0, "num_simulated": 0, "num_samples": 1, "chunk_size": 1}
    for key, least in least_values.items():
        if options[key] < least:
            raise UsageError(f"{key} must be a whole number, {least} or more, got {options[key]!r}")
    if not options.max_sandwich > 0:
        raise UsageError(f"max_sandwich must be positive, got {options.max_sandwich!r}")
    most = options.num_images or float("inf")
    if not all(0 <= place < most for place in options.pictured):
        raise UsageError(
            f"pictured must be places among the num_images {options.num_images} images, from 0;"
            f" got {tuple(options.pictured)}"
        )
    _of_group("annealing", lambda: annealing(options))
    _of_group("local", lambda: local_optimization(options))


def _check_choice(options: ml_collections.ConfigDict, key: str, known: Sequence[str]) -> None:
    values = tuple(options[key])
    if len(set(values)) < len(values) or not set(values) <= set(known):
        raise UsageError(f"{key} must be different ones of {', '.join(known)}; got {values}")


def _of_group(group: str, make: Callable[[], Any]) -> None:
    try:
        make()
    except UsageError as error:
        raise UsageError(f"{group}.{error}") from error
