"""How good a model's posteriors are, and why not better (GAPS Sections 3 and 5)."""

from __future__ import annotations

import dataclasses
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
    Doubtful,
    NotApplicable,
    TrainedModel,
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
        local: the optimised posteriors, by family.
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
    names += ("encoder_overfitting",) if "test" in options.parts else ()
    names += ("decoder_overfitting",) if set(PARTS) <= set(options.parts) else ()
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

    The optimised posteriors are judged by fresh samples. `simulated_...` are the two bounds on
    images simulated from the model: the upper less the lower says how far off AIS is there.
    `encoder_overfitting` is the AIS less the IWAE bound of test images, `decoder_overfitting` the
    AIS bound of training less that of test images (GAPS 6.6.1).
    """
    simulated = once(trained, "simulated bounds", lambda: _simulate(trained, options))
    found: dict[str, Value] = {}
    means: dict[str, dict[str, Value]] = {}
    for part in options.parts:
        measured = measured_part(trained, part, options)
        means[part] = _measures(measured, simulated, options)
        for name, value in means[part].items():
            stem = name.removesuffix("_standard_error")
            found[f"{stem}_{part}{name.removeprefix(stem)}"] = value
    return {**found, **_of_simulated(simulated), **_overfitting(means)}


def measured_part(
    trained: TrainedModel, part: str, options: ml_collections.ConfigDict
) -> MeasuredPart:
    """The bounds of one part's images, measured once for a trained model."""
    return once(trained, ("inference gaps", part), lambda: _measure_part(trained, part, options))


def check(options: ml_collections.ConfigDict) -> None:
    """Refuses options that cannot be run with.

    Raises:
        UsageError: that begins with the option's name.
    """
    unknown = [part for part in options.parts if part not in ("train", "valid", "test")]
    if unknown or not options.parts:
        raise UsageError(f"parts must be some of train, valid, test; got {tuple(options.parts)}")
    strange = [family for family in options.families if family not in FAMILIES]
    if strange:
        raise UsageError(f"families: unknown {strange[0]!r}; known: {', '.join(FAMILIES)}")
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
    settings = LocalOptimization(**options.local)
    if trained.posterior_family == "constant":
        settings = dataclasses.replace(settings, constant_stddev=_stddev(trained, images))
    local = {
        family: _optimize(trained, images, family, settings)
        for family in _families(trained, options)
    }

    def lower(posterior: Any) -> np.ndarray:
        return bounds_of(trained, images, posterior, **samples).lower_bound

    bounds = PartBounds(
        ais=annealed.bound,
        iwae=None if importance is None else importance.log_evidence,
        lower=None if importance is None else importance.lower_bound,
        optimal={family: lower(found.posterior) for family, found in local.items()},
        linearized={"full_covariance": lower(full), "diagonal": lower(diagonal)},
        own_family=trained.posterior_family,
    )
    return MeasuredPart(images, bounds, annealed, importance, local)


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
    unconverged = {
        family: float(np.mean(~np.asarray(found.converged)))
        for family, found in measured.local.items()
    }
    importance = measured.importance
    found = {
        **measures(bounds),
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
        found[f"{family}_unconverged"] = unconverged[family]
    reasons = doubts(bounds, mixing, options.max_sandwich)
    return with_caveats(found, bounds, reasons, unconverged)


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


def _overfitting(means: dict[str, dict[str, Value]]) -> dict[str, Value]:
    """Of encoder and decoder, as far as the parts measured tell."""
    found: dict[str, Value] = {}
    if "test" in means:
        ais, iwae = means["test"]["ais_bound"], means["test"]["iwae_bound"]
        found["encoder_overfitting"] = _difference(ais, iwae)
    if set(PARTS) <= set(means):
        of_training, of_test = (means[part]["ais_bound"] for part in PARTS)
        found["decoder_overfitting"] = _difference(of_training, of_test)
    return found


def _difference(one: Value, other: Value) -> Value:
    """With the reason, or the caveat, of either."""
    for value in (one, other):
        if isinstance(value, NotApplicable):
            return value
    doubtful = [value for value in (one, other) if isinstance(value, Doubtful)]
    difference = float(one) - float(other)
    return Doubtful(difference, doubtful[0].caveat) if doubtful else difference
