"""How good a model's posteriors are, and why not better (GAPS Sections 3 and 5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.annealed_bounds import (
    AnnealedBounds,
    Annealing,
    forward_bounds,
    sandwich,
)
from sfvae_jax.evaluation.annealing import SCHEDULES
from sfvae_jax.evaluation.codes import (
    NotApplicable,
    TrainedModel,
    latent_size,
    once,
    part_images,
)
from sfvae_jax.evaluation.gap_measures import (
    BOUNDS,
    GAPS,
    Mixing,
    PartBounds,
    Value,
    doubts,
    measures,
    overfitting,
    with_caveats,
)
from sfvae_jax.evaluation.linearized_posterior import linearized_posteriors
from sfvae_jax.evaluation.local_families import FAMILIES
from sfvae_jax.evaluation.local_optimization import (
    LocalOptimization,
    LocalPosteriors,
    optimize_posteriors,
)
from sfvae_jax.evaluation.marginal_likelihood import ImportanceStatistics, bounds_of
from sfvae_jax.evaluation.precision import standard_error
from sfvae_jax.evaluation.progress import Progress

PARTS = ("train", "test")
OPTIONS: dict[str, Any] = {
    "parts": PARTS,
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
    "pictured": (),  # of two latents: places of training images; empty: chosen by their gaps
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


@dataclasses.dataclass(frozen=True)
class MeasuredPart:
    """All that was found of one part's images.

    Attributes:
        images: stored images [N, ...].
        bounds: of each image.
        annealed: how AIS went.
        importance: of the model's posterior; None where it has no density.
        local: the optimised posteriors, by family; without the posteriors themselves where there
            are not two latents, to draw: networks of a thousand images would fill gigabytes.
    """

    images: np.ndarray
    bounds: PartBounds
    annealed: AnnealedBounds
    importance: ImportanceStatistics | None
    local: dict[str, LocalPosteriors]


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
    names += of_decoder if set(PARTS) <= set(options.parts) else ()
    return tuple(names)


def evaluate_inference_gaps(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> dict[str, Value]:
    """The evaluation `inference_gaps` (GAPS Tables 2, 3, 5, 6 and 10), means in nats.

    Of each part PART of the data, each with its `..._standard_error` over the images:

    log_evidence_PART       the larger of the next two
    ais_bound_PART          AIS from the prior: it does not know the encoder
    iwae_bound_PART         the IWAE bound of the model's posterior with `num_samples` samples
    lower_bound_PART        its ELBO, by the same samples
    optimal_FAMILY_bound_PART  the ELBO of the posteriors optimised for each image alone
    linearized_full_covariance_bound_PART, linearized_diagonal_bound_PART
                            that of the covariance which the linearised decoder implies at the
                            encoder's mean, whole or its best factorised one; nothing is optimised
    approximation_gap_PART, amortization_gap_PART, inference_gap_PART, linearized_gain_PART,
    linearized_covariance_gain_PART
                            as `gap_measures.gaps`

    The optimised posteriors are judged by fresh samples; q* of a flow model has its flow's sizes,
    other flows those of `local`. `simulated_...` are the two bounds on images simulated from the
    model: the upper less the lower says how far off AIS is there. `ais_monte_carlo_error_PART` is
    what another draw of the chains would change. `gap_measures.overfitting` has the last two.
    """
    key = ("simulated bounds", str(options))
    simulated = once(trained, key, lambda: _simulate(trained, options))
    parts = {part: measured_part(trained, part, options) for part in options.parts}
    found: dict[str, Value] = {}
    for part, measured in parts.items():
        for name, value in _measures(measured, simulated, options).items():
            stem = name.removesuffix("_standard_error")
            found[f"{stem}_{part}{name.removeprefix(stem)}"] = value
    bounds = {part: measured.bounds for part, measured in parts.items()}
    return {**found, **_of_simulated(simulated), **overfitting(bounds)}


def measured_part(
    trained: TrainedModel, part: str, options: ml_collections.ConfigDict
) -> MeasuredPart:
    """The bounds of one part's images, measured once for a trained model."""
    key = ("inference gaps", part, str(options))
    return once(trained, key, lambda: _measure_part(trained, part, options))


def check(options: ml_collections.ConfigDict) -> None:
    """Refuses options that cannot be run with.

    Raises:
        UsageError: that begins with the option's name.
    """
    _check_choice(options, "parts", ("train", "valid", "test"))
    if not options.parts:
        raise UsageError("parts must be at least one of train, valid, test")
    # A constant posterior has the model's own variance: without such a model there is none.
    _check_choice(options, "families", [family for family in FAMILIES if family != "constant"])
    if options.num_images and any(place >= options.num_images for place in options.pictured):
        raise UsageError(
            f"pictured must be places among the num_images {options.num_images} images, from 0;"
            f" got {tuple(options.pictured)}"
        )
    if not all(isinstance(size, int) and size > 0 for size in options.local.hidden_sizes):
        raise UsageError(
            f"local.hidden_sizes must be positive sizes, such as (100, 100); got"
            f" {tuple(options.local.hidden_sizes)}"
        )
    if options.annealing.schedule not in SCHEDULES:
        raise UsageError(
            f"annealing.schedule must be one of {', '.join(SCHEDULES)};"
            f" got {options.annealing.schedule!r}"
        )
    for key in ("num_images", "num_simulated"):
        if options[key] < 0:
            raise UsageError(f"{key} must be a whole number, 0 or more, got {options[key]!r}")
    for group in ("", "annealing", "local"):
        node = options[group] if group else options
        for key in _POSITIVE[group]:
            if not node[key] > 0:
                path = f"{group}.{key}" if group else key
                raise UsageError(f"{path} must be positive, got {node[key]!r}")
    if not options.annealing.target_acceptance < 1:
        raise UsageError("annealing.target_acceptance must be below 1")
    if options.local.max_steps < options.local.check_every:
        raise UsageError(
            f"local.max_steps {options.local.max_steps} must be at least local.check_every"
            f" {options.local.check_every}"
        )


def _check_choice(options: ml_collections.ConfigDict, key: str, known: Sequence[str]) -> None:
    values = tuple(options[key])
    if len(set(values)) < len(values) or not set(values) <= set(known):
        raise UsageError(f"{key} must be different ones of {', '.join(known)}; got {values}")


_POSITIVE = {
    "": ("num_samples", "chunk_size", "max_sandwich"),
    "annealing": (
        "num_chains",
        "num_temperatures",
        "num_leapfrog_steps",
        "target_acceptance",
        "pilot_chains",
        "chunk_size",
    ),
    "local": (
        "num_samples",
        "learning_rate",
        "network_learning_rate",
        "check_every",
        "patience",
        "max_steps",
        "chunk_size",
        "num_flows",
    ),
}


def _simulate(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> tuple[AnnealedBounds, AnnealedBounds] | None:
    if not options.num_simulated:
        return None
    return sandwich(trained, options.num_simulated, Annealing(**options.annealing))


def _measure_part(
    trained: TrainedModel, part: str, options: ml_collections.ConfigDict
) -> MeasuredPart:
    images = part_images(trained, part)[: options.num_images or None]
    samples = {"num_samples": options.num_samples, "chunk_size": options.chunk_size}
    annealed = forward_bounds(trained, images, Annealing(**options.annealing))
    has_density = trained.posterior_family != "none"
    importance = bounds_of(trained, images, **samples) if has_density else None
    full, diagonal = linearized_posteriors(trained, images)

    def lower(posterior: Any) -> np.ndarray:
        return bounds_of(trained, images, posterior, **samples).lower_bound

    optimal, local = {}, {}
    for family in _families(trained, options):
        found = _optimize(trained, images, family, _settings(trained, images, family, options))
        optimal[family] = lower(found.posterior)
        drawn = latent_size(trained) == 2
        local[family] = found if drawn else found._replace(posterior=None)
    bounds = PartBounds(
        ais=annealed.bound,
        iwae=None if importance is None else importance.log_evidence,
        lower=None if importance is None else importance.lower_bound,
        optimal=optimal,
        linearized={"full_covariance": lower(full), "diagonal": lower(diagonal)},
        own_family=trained.posterior_family,
    )
    return MeasuredPart(images, bounds, annealed, importance, local)


def _settings(
    trained: TrainedModel, images: np.ndarray, family: str, options: ml_collections.ConfigDict
) -> LocalOptimization:
    """Those asked for; the model's own family is as large as the model has it."""
    settings = LocalOptimization(**options.local)
    if family != trained.posterior_family:
        return settings
    if family == "constant":
        return dataclasses.replace(settings, constant_stddev=_stddev(trained, images))
    num_flows, hidden_sizes = trained.posterior_flows
    return dataclasses.replace(settings, num_flows=num_flows, hidden_sizes=hidden_sizes)


def _optimize(
    trained: TrainedModel, images: np.ndarray, family: str, settings: LocalOptimization
) -> LocalPosteriors:
    count = len(images)
    with Progress(f"optimising {family} posteriors", count) as progress:
        return optimize_posteriors(
            trained,
            images,
            family,
            settings,
            progress=lambda share: progress.update(round(count * share)),
        )


def _stddev(trained: TrainedModel, images: np.ndarray) -> float:
    """Of a posterior that has the same for all images and latents."""
    stddev = trained.map_images(lambda p, x, _: trained.encode(p, x).stddev, images[:1])
    return float(stddev[0, 0])


def _families(trained: TrainedModel, options: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Those asked for; the model's own first, if any is optimised and it can be."""
    own = trained.posterior_family
    first = (own,) if options.families and own in FAMILIES else ()
    return tuple(dict.fromkeys((*first, *options.families)))


def _measures(
    measured: MeasuredPart,
    simulated: tuple[AnnealedBounds, AnnealedBounds] | None,
    options: ml_collections.ConfigDict,
) -> dict[str, Value]:
    """Of one part, without its name."""
    annealed, bounds = measured.annealed, measured.bounds
    mixing = Mixing(
        sandwich=None if simulated is None else simulated[1].bound - simulated[0].bound,
        effective_sample_size=annealed.effective_sample_size,
        acceptance_rate=annealed.acceptance_rate,
        num_chains=options.annealing.num_chains,
    )
    importance = measured.importance
    found = {
        **measures(bounds),
        "ais_monte_carlo_error": float(
            np.linalg.norm(annealed.standard_error) / len(measured.images)
        ),
        "ais_effective_sample_size": float(np.mean(annealed.effective_sample_size)),
        "ais_least_effective_sample_size": float(np.min(annealed.effective_sample_size)),
        "ais_acceptance_rate": float(np.mean(annealed.acceptance_rate)),
        "ais_least_acceptance_rate": float(np.min(annealed.least_acceptance_rate)),
        "ais_step_size": float(np.mean(annealed.step_size)),
        "iwae_effective_sample_size": NotApplicable("the encoder gives no density q(z|x)")
        if importance is None
        else float(np.mean(importance.effective_sample_size)),
    }
    for family, local in measured.local.items():
        found[f"{family}_steps"] = float(np.mean(local.steps))
        found[f"{family}_unconverged"] = float(np.mean(~local.converged))
    reasons = doubts(bounds, mixing, options.max_sandwich)
    searches = {
        family: _search_caveat(local, options.local) for family, local in measured.local.items()
    }
    return with_caveats(found, bounds, reasons, searches)


def _search_caveat(local: LocalPosteriors, options: ml_collections.ConfigDict) -> str:
    """What is wrong with an optimisation, in words; empty if every image has settled."""
    most = options.max_steps // options.check_every * options.check_every
    broken = np.mean(~local.converged & (local.steps < most))
    unsettled = np.mean(~local.converged & (local.steps >= most))
    found = []
    if broken:
        found.append(f"{broken:.0%} of the images diverged; lower its learning rate (local)")
    if unsettled:
        found.append(
            f"{unsettled:.0%} of the images were stopped before they settled; raise local.max_steps"
        )
    return ", ".join(found)


def _of_simulated(simulated: tuple[AnnealedBounds, AnnealedBounds] | None) -> dict[str, Value]:
    if simulated is None:
        return {}
    lower, upper = (np.asarray(found.bound, np.float64) for found in simulated)
    return {
        "simulated_lower_bound": float(np.mean(lower)),
        "simulated_upper_bound": float(np.mean(upper)),
        "simulated_sandwich": float(np.mean(upper - lower)),
        "simulated_sandwich_standard_error": standard_error(upper - lower),
    }
