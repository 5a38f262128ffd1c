"""What to change where a loss, its gradient or its update is not finite."""

from __future__ import annotations

import math

import ml_collections

from sfvae_jax import objectives

_FAR = 3.0  # decades from 1, of what may make a first loss overflow
_VERY_FAR = 6.0  # of what may make a later one
_HARMLESS_NEAR_0 = (
    "objective.beta",
    "objective.beta_start",
    "objective.entropy_weight",
    "objective.entropy_start",
    "objective.penalty_weight",
    "objective.free_bits",
)
_PENALTIES = ("rae_l2", "rae_gp", "wae_mmd")


def advice(config: ml_collections.ConfigDict, *, at_start: bool) -> str:
    """Which options to change, a sentence or two.

    A first loss that is not finite, or whose gradient is not, is computed from fresh parameters:
    no learning rate has touched them, so that a scale of the loss or of the data is the cause.

    Args:
        config: resolved.
        at_start: whether the loss or its gradient is not finite at step 1.
    """
    far = _far_from_one(config, _FAR if at_start else _VERY_FAR)
    if at_start:
        cause = "It is so before any update, so that train.learning_rate is not the cause"
        return f"{cause}. {far or _OF_DATA}"
    slower = "Lower train.learning_rate"
    if config.likelihood.name == "heteroscedastic_gaussian":
        slower += ", or bound the learned variance with likelihood.min_variance"
    elif config.objective.name == "sampling_free":
        slower += ", or objective.gamma"
    return f"{far}; else l{slower[1:]}" if far else slower


_OF_DATA = "Look at the data and at model.initializer: their scale is all that enters it"


def _far_from_one(config: ml_collections.ConfigDict, least: float) -> str:
    """Which scale is farthest from 1, and where to bring it; empty if none is so many decades."""
    scales = {key: value for key, value in _scales(config).items() if value}
    decades = {key: abs(math.log10(value)) for key, value in scales.items()}
    key = max(decades, key=decades.get)
    if decades[key] < least:
        return ""
    direction = "Raise" if scales[key] < 1.0 else "Lower"
    return f"{direction} {key} {scales[key]:g}, which is far from 1 and scales the loss"


def _scales(config: ml_collections.ConfigDict) -> dict[str, float]:
    """The options that the loss of this objective is scaled by, or its exponents are."""
    objective, info = config.objective, objectives.OBJECTIVES[config.objective.name]
    scales = {"data.scale": config.data.scale, "model.latent_scale": config.model.latent_scale}
    if info.density and config.likelihood.name in ("gaussian", "sequence"):
        scales["likelihood.variance"] = config.likelihood.variance
    if config.likelihood.name == "heteroscedastic_gaussian":
        scales["likelihood.max_variance"] = config.likelihood.max_variance
    if config.posterior.name == "constant":
        scales["posterior.variance"] = config.posterior.variance
    scales["objective.beta"] = objective.beta
    if objective.beta_schedule != "constant":
        scales["objective.beta_start"] = objective.beta_start
    scales["objective.entropy_weight"] = objective.entropy_weight
    if objective.entropy_schedule != "constant":
        scales["objective.entropy_start"] = objective.entropy_start
    if objective.name in _PENALTIES:
        scales["objective.penalty_weight"] = objective.penalty_weight
    if objective.name == "bilbo_baggins":
        scales["objective.tau"] = objective.tau
    scales["objective.free_bits"] = objective.free_bits
    return {k: v for k, v in scales.items() if v >= 1.0 or k not in _HARMLESS_NEAR_0}
