"""Advice on what to change when a loss, its gradient or its update is not finite."""

from __future__ import annotations

import math

import ml_collections

from sfvae_jax import objectives
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.posteriors import POSTERIORS

_FAR = 3.0  # a scale this many decades from 1 may make the first loss overflow
_VERY_FAR = 6.0  # a scale this many decades from 1 may make a later loss overflow
_HARMLESS_NEAR_0 = (
    "objective.beta",
    "objective.beta_start",
    "objective.entropy_weight",
    "objective.entropy_start",
    "objective.penalty_weight",
    "objective.free_bits",
)
_LOOK_AT_DATA = "Check the data and model.initializer, the only other things that scale the loss"
_LOOK_AT_PLUGIN = "Check the plugin's function, the data and model.initializer"


def advice(config: ml_collections.ConfigDict, *, at_start: bool) -> str:
    """Returns a sentence or two that name the options to change.

    If the first loss or its gradient is not finite, no update has used the learning rate yet. The
    cause must then be a scale of the loss or of the data.

    Args:
        config: a resolved config.
        at_start: whether the loss or its gradient is not finite at step 1.
    """
    far = _far_from_one(config, _FAR if at_start else _VERY_FAR)
    if at_start:
        cause = "No update has been made yet, so train.learning_rate is not the cause"
        is_own = not objectives.OBJECTIVES[config.objective.name].function
        return f"{cause}. {far or (_LOOK_AT_PLUGIN if is_own else _LOOK_AT_DATA)}"
    slower = "Lower train.learning_rate"
    of_likelihood = LIKELIHOODS[config.likelihood.name].advice
    of_objective = objectives.OBJECTIVES[config.objective.name].advice
    if of_likelihood or of_objective:
        slower += f", or {of_likelihood or of_objective}"
    return f"{far}; else l{slower[1:]}" if far else slower


def _far_from_one(config: ml_collections.ConfigDict, least: float) -> str:
    """Says how to change the scale farthest from 1; empty if it is closer than `least` decades."""
    scales = {key: value for key, value in _scales(config).items() if value}
    decades = {key: abs(math.log10(value)) for key, value in scales.items()}
    key = max(decades, key=decades.__getitem__)
    if decades[key] < least:
        return ""
    direction = "Raise" if scales[key] < 1.0 else "Lower"
    return f"{direction} {key} {scales[key]:g}, which is far from 1 and scales the loss"


def _scales(config: ml_collections.ConfigDict) -> dict[str, float]:
    """Returns the values of the options that scale this objective's loss or its exponents."""
    objective, info = config.objective, objectives.OBJECTIVES[config.objective.name]
    scales = {"data.scale": config.data.scale, "model.latent_scale": config.model.latent_scale}
    for option in LIKELIHOODS[config.likelihood.name].loss_scales if info.density else ():
        scales[f"likelihood.{option}"] = config.likelihood[option]
    for option in POSTERIORS[config.posterior.name].loss_scales:
        scales[f"posterior.{option}"] = config.posterior[option]
    scales["objective.beta"] = objective.beta
    if objective.beta_schedule != "constant":
        scales["objective.beta_start"] = objective.beta_start
    scales["objective.entropy_weight"] = objective.entropy_weight
    if objective.entropy_schedule != "constant":
        scales["objective.entropy_start"] = objective.entropy_start
    if info.default_penalty_weight is not None:
        scales["objective.penalty_weight"] = objective.penalty_weight
    if "tau" in info.options:
        scales["objective.tau"] = objective.tau
    scales["objective.free_bits"] = objective.free_bits
    return {k: v for k, v in scales.items() if v >= 1.0 or k not in _HARMLESS_NEAR_0}
