"""The evaluation `inference_gaps`: how good a model's posteriors are, and why not better (GAPS).

GAPS is Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders", and BACK
Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder".
"""

from __future__ import annotations

from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation.inference_gaps.annealed_bounds import AnnealedBounds
from sfvae_jax.evaluation.inference_gaps.drawing import draw_inference_gaps
from sfvae_jax.evaluation.inference_gaps.gaps import (
    BOUNDS,
    GAINS,
    GAPS,
    Mixing,
    doubts,
    measures,
    overfitting,
    search_caveat,
    with_caveats,
)
from sfvae_jax.evaluation.inference_gaps.measured_split import (
    MeasuredSplit,
    measured_split,
    simulated_bounds,
)
from sfvae_jax.evaluation.inference_gaps.options import OPTIONS, check, local_optimization
from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure, with_errors
from sfvae_jax.evaluation.standard_errors import monte_carlo_error, standard_error
from sfvae_jax.evaluation.trained_model import TrainedModel


def evaluate_inference_gaps(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Measures the gaps of GAPS Tables 2, 3, 5, 6 and 10: means over the images, in nats.

    For each split SPLIT of `parts`, each with its `..._standard_error` over the images:

    log_evidence_SPLIT      the larger of the next two
    ais_bound_SPLIT         AIS from the prior, which does not use the encoder
    iwae_bound_SPLIT        the IWAE bound of the model's posterior with `num_samples` samples
    lower_bound_SPLIT       its ELBO, from the same samples
    optimal_FAMILY_bound_SPLIT  the ELBO of the posteriors optimised for each image alone
    linearized_full_covariance_bound_SPLIT, linearized_diagonal_bound_SPLIT
                            the ELBO at the encoder's mean with the covariance that the linearised
                            decoder implies, or with the best factorised one for it; nothing is
                            optimised
    approximation_gap_SPLIT, amortization_gap_SPLIT, inference_gap_SPLIT, linearized_gain_SPLIT,
    linearized_covariance_gain_SPLIT
                            see `gaps.gaps`

    Fresh samples judge the optimised posteriors. q* of a flow model has the sizes of its flow;
    other flows have those of `local`. The measures `simulated_...` compare the two bounds of images
    simulated from the model: the upper less the lower shows how far off AIS is there.
    `ais_monte_carlo_error_SPLIT` is how much another draw of the chains would change.
    `gaps.overfitting` describes `encoder_overfitting` and `decoder_overfitting`.
    """
    simulated = simulated_bounds(trained, options)
    splits = {split: measured_split(trained, split, options) for split in options.parts}
    reasons = {split: _reasons(measured, simulated, options) for split, measured in splits.items()}
    found: Measured = {}
    for split, measured in splits.items():
        for name, value in _measures(measured, reasons[split], options).items():
            stem = name.removesuffix("_standard_error")
            found[f"{stem}_{split}{name.removeprefix(stem)}"] = value
    bounds = {split: measured.bounds for split, measured in splits.items()}
    return {**found, **_of_simulated(simulated), **overfitting(bounds, reasons)}


def _reasons(
    measured: MeasuredSplit,
    simulated: tuple[AnnealedBounds, AnnealedBounds] | None,
    options: ml_collections.ConfigDict,
) -> list[str]:
    """Lists the reasons not to trust AIS on a split."""
    mixing = Mixing(
        sandwich=None if simulated is None else simulated[1].bound - simulated[0].bound,
        effective_sample_size=measured.annealed.effective_sample_size,
        acceptance_rate=measured.annealed.acceptance_rate,
        num_chains=options.annealing.num_chains,
    )
    return doubts(measured.bounds, mixing, options.max_sandwich)


def _measures(
    measured: MeasuredSplit, reasons: list[str], options: ml_collections.ConfigDict
) -> Measured:
    """Returns the measures of one split, without its name."""
    bounds, settings = measured.bounds, local_optimization(options)
    found = {**measures(bounds), **_diagnostics(measured)}
    searches = {}
    for family, local in measured.local.items():
        found[f"{family}_steps"] = float(np.mean(local.steps))
        found[f"{family}_unconverged"] = float(np.mean(~local.converged))
        searches[family] = search_caveat(local.steps, local.converged, settings.whole_steps)
    return with_caveats(found, bounds, reasons, searches)


def _diagnostics(measured: MeasuredSplit) -> Measured:
    """Measures how well AIS and IWAE worked."""
    annealed, importance = measured.annealed, measured.importance
    return {
        "ais_monte_carlo_error": monte_carlo_error(annealed.standard_error, "chain"),
        "ais_effective_sample_size": float(np.mean(annealed.effective_sample_size)),
        "ais_least_effective_sample_size": float(np.min(annealed.effective_sample_size)),
        "ais_acceptance_rate": float(np.mean(annealed.acceptance_rate)),
        "ais_least_acceptance_rate": float(np.min(annealed.least_acceptance_rate)),
        "ais_step_size": float(np.mean(annealed.step_size)),
        "iwae_effective_sample_size": NotApplicable("the encoder gives no density q(z|x)")
        if importance is None
        else float(np.mean(importance.effective_sample_size)),
    }


def _of_simulated(simulated: tuple[AnnealedBounds, AnnealedBounds] | None) -> Measured:
    if simulated is None:
        return {}
    lower, upper = (np.asarray(found.bound, np.float64) for found in simulated)
    return {
        "simulated_lower_bound": float(np.mean(lower)),
        "simulated_upper_bound": float(np.mean(upper)),
        "simulated_sandwich": float(np.mean(upper - lower)),
        "simulated_sandwich_standard_error": standard_error(upper - lower),
    }


_NATS: dict[str, Any] = {"unit": "nats", "digits": 2}
_BOUNDS_AND_GAPS = with_errors(
    *(
        Measure(f"{name}_SPLIT", better="more", split="SPLIT", **_NATS)
        for name in (*BOUNDS, "optimal_FAMILY_bound")
    ),
    *(Measure(f"{name}_SPLIT", better="less", split="SPLIT", **_NATS) for name in GAPS),
    *(Measure(f"{name}_SPLIT", split="SPLIT", **_NATS) for name in GAINS),
)
_MIXING = (
    Measure("ais_monte_carlo_error_SPLIT", split="SPLIT", **_NATS),
    Measure("ais_effective_sample_size_SPLIT", digits=2, better="more", split="SPLIT"),
    Measure("ais_least_effective_sample_size_SPLIT", digits=2, better="more", split="SPLIT"),
    Measure("ais_acceptance_rate_SPLIT", digits=2, split="SPLIT"),
    Measure("ais_least_acceptance_rate_SPLIT", digits=2, split="SPLIT"),
    Measure("ais_step_size_SPLIT", digits=2, split="SPLIT"),
    Measure("iwae_effective_sample_size_SPLIT", digits=2, better="more", split="SPLIT"),
)
_SEARCHES = (
    Measure("FAMILY_steps_SPLIT", digits=2, split="SPLIT"),
    Measure("FAMILY_unconverged_SPLIT", digits=2, better="less", split="SPLIT"),
)
_SIMULATED = (
    Measure("simulated_lower_bound", split="", **_NATS),
    Measure("simulated_upper_bound", split="", **_NATS),
    *with_errors(Measure("simulated_sandwich", split="", better="less", **_NATS)),
)
_ENCODER = with_errors(Measure("encoder_overfitting", better="less", split="test", **_NATS))
_DECODER = with_errors(
    Measure("decoder_overfitting", better="less", split="train and test", **_NATS)
)


def _names(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """Returns the names of the measures, for a model whose family is one of `families`."""
    del evaluations
    optimal = [f"optimal_{family}_bound" for family in options.families]
    with_error = [*BOUNDS, *optimal, *GAPS, *GAINS]
    names = [
        name
        for split in options.parts
        for name in (
            *(f"{name}_{split}" for name in with_error),
            *(f"{name}_{split}_standard_error" for name in with_error),
            *(measure.name.replace("SPLIT", split) for measure in _MIXING),
            *(
                measure.name.replace("SPLIT", split).replace("FAMILY", family)
                for family in options.families
                for measure in _SEARCHES
            ),
        )
    ]
    rest = (
        *(_SIMULATED if options.num_simulated else ()),
        *(_ENCODER if "test" in options.parts else ()),
        *(_DECODER if {"train", "test"} <= set(options.parts) else ()),
    )
    return (*names, *(measure.name for measure in rest))


EVALUATION = Evaluation(
    evaluate_inference_gaps,
    (*_BOUNDS_AND_GAPS, *_MIXING, *_SEARCHES, *_SIMULATED, *_ENCODER, *_DECODER),
    OPTIONS,
    summary="how far posteriors are from the best ones, and the bound from log p(x)",
    source="GAPS Tables 2-6, 10, Figures 2, 3; BACK Eq. 12",
    names=_names,
    splits=lambda options, evaluations: tuple(options.parts),
    check=check,
    draw=draw_inference_gaps,
)
