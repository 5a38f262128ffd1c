"""How good a model's posteriors are, and why not better (GAPS Sections 3 and 5)."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation.bounds.marginal_likelihood import ImportanceStatistics, bounds_of
from sfvae_jax.evaluation.inference_gaps.annealed_bounds import (
    AnnealedBounds,
    forward_bounds,
    sandwich,
)
from sfvae_jax.evaluation.inference_gaps.families import FAMILIES
from sfvae_jax.evaluation.inference_gaps.gaps import (
    Mixing,
    PartBounds,
    Value,
    doubts,
    measures,
    overfitting,
    search_caveat,
    with_caveats,
)
from sfvae_jax.evaluation.inference_gaps.local_optimization import (
    LocalPosteriors,
    optimize_posteriors,
)
from sfvae_jax.evaluation.inference_gaps.options import annealing, local_optimization
from sfvae_jax.evaluation.inference_gaps.search_settings import LocalOptimization
from sfvae_jax.evaluation.linearization.posterior import linearized_posteriors
from sfvae_jax.evaluation.progress import Progress
from sfvae_jax.evaluation.standard_errors import standard_error
from sfvae_jax.evaluation.trained_model import (
    NotApplicable,
    TrainedModel,
    latent_size,
    once,
    part_images,
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
    reasons = {part: _reasons(measured, simulated, options) for part, measured in parts.items()}
    found: dict[str, Value] = {}
    for part, measured in parts.items():
        for name, value in _measures(measured, reasons[part], options).items():
            stem = name.removesuffix("_standard_error")
            found[f"{stem}_{part}{name.removeprefix(stem)}"] = value
    bounds = {part: measured.bounds for part, measured in parts.items()}
    return {**found, **_of_simulated(simulated), **overfitting(bounds, reasons)}


def measured_part(
    trained: TrainedModel, part: str, options: ml_collections.ConfigDict
) -> MeasuredPart:
    """The bounds of one part's images, measured once for a trained model."""
    key = ("inference gaps", part, str(options))
    return once(trained, key, lambda: _measure_part(trained, part, options))


def _simulate(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> tuple[AnnealedBounds, AnnealedBounds] | None:
    if not options.num_simulated:
        return None
    return sandwich(trained, options.num_simulated, annealing(options))


def _measure_part(
    trained: TrainedModel, part: str, options: ml_collections.ConfigDict
) -> MeasuredPart:
    images = part_images(trained, part)[: options.num_images or None]
    samples = {"num_samples": options.num_samples, "chunk_size": options.chunk_size}
    annealed = forward_bounds(trained, images, annealing(options))
    has_density = trained.posterior_family != "none"
    importance = bounds_of(trained, images, **samples) if has_density else None
    full, diagonal = linearized_posteriors(trained, images)

    def lower(posterior: Any) -> np.ndarray:
        return bounds_of(trained, images, posterior, **samples).lower_bound

    optimal, local, factorised = {}, {}, None
    for family in _families(trained, options):
        settings = _settings(trained, images, family, options)
        found = _optimize(trained, images, family, settings, factorised)
        factorised = found.posterior if family == "diagonal" else factorised
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
    settings = local_optimization(options)
    if family != trained.posterior_family:
        return settings
    if family == "constant":
        return dataclasses.replace(settings, constant_stddev=_stddev(trained, images))
    return dataclasses.replace(settings, **trained.posterior_flows)


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


def _stddev(trained: TrainedModel, images: np.ndarray) -> float:
    """Of a posterior that has the same for all images and latents."""
    stddev = trained.map_images(
        lambda p, x, _: trained.encode(p, x).stddev, images[:1], key="standard deviation"
    )
    return float(stddev[0, 0])


def _families(trained: TrainedModel, options: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Those asked for, and the model's own, if any is optimised and it can be.

    The factorised Gaussians come first, for the others start from what is found there.
    """
    own = trained.posterior_family
    found = {*options.families, own} & set(FAMILIES) if options.families else set()
    return tuple(sorted(found, key=list(FAMILIES).index))


def _reasons(
    measured: MeasuredPart,
    simulated: tuple[AnnealedBounds, AnnealedBounds] | None,
    options: ml_collections.ConfigDict,
) -> list[str]:
    """Why AIS is not to be trusted on a part."""
    mixing = Mixing(
        sandwich=None if simulated is None else simulated[1].bound - simulated[0].bound,
        effective_sample_size=measured.annealed.effective_sample_size,
        acceptance_rate=measured.annealed.acceptance_rate,
        num_chains=options.annealing.num_chains,
    )
    return doubts(measured.bounds, mixing, options.max_sandwich)


def _measures(
    measured: MeasuredPart, reasons: list[str], options: ml_collections.ConfigDict
) -> dict[str, Value]:
    """Of one part, without its name."""
    bounds, settings = measured.bounds, local_optimization(options)
    found = {**measures(bounds), **_diagnostics(measured)}
    searches = {}
    for family, local in measured.local.items():
        found[f"{family}_steps"] = float(np.mean(local.steps))
        found[f"{family}_unconverged"] = float(np.mean(~local.converged))
        searches[family] = search_caveat(local.steps, local.converged, settings.whole_steps)
    return with_caveats(found, bounds, reasons, searches)


def _diagnostics(measured: MeasuredPart) -> dict[str, Value]:
    """How AIS and IWAE went."""
    annealed, importance = measured.annealed, measured.importance
    error = np.linalg.norm(annealed.standard_error) / len(measured.images)
    return {
        "ais_monte_carlo_error": float(error),
        "ais_effective_sample_size": float(np.mean(annealed.effective_sample_size)),
        "ais_least_effective_sample_size": float(np.min(annealed.effective_sample_size)),
        "ais_acceptance_rate": float(np.mean(annealed.acceptance_rate)),
        "ais_least_acceptance_rate": float(np.min(annealed.least_acceptance_rate)),
        "ais_step_size": float(np.mean(annealed.step_size)),
        "iwae_effective_sample_size": NotApplicable("the encoder gives no density q(z|x)")
        if importance is None
        else float(np.mean(importance.effective_sample_size)),
    }


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
