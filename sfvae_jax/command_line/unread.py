"""Flags that a run does not read, because of what its objective, posterior or likelihood is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import ml_collections

from sfvae_jax import left_open
from sfvae_jax.config import validate
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import EVALUATIONS
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.objectives import OBJECTIVES
from sfvae_jax.posteriors import POSTERIORS

# The specs of each group. An option that some of them name in `options` is read by these alone.
_TABLES: dict[str, Mapping[str, Any]] = {
    "objective": OBJECTIVES,
    "posterior": POSTERIORS,
    "likelihood": LIKELIHOODS,
}
# What these evaluations read of the sampling-free objective, whatever the objective is.
_READ_BY_EVALUATIONS = ("gamma", "log_det_weight")
_EVALUATIONS = ("bias", "gradient_noise")
# Their options are also read by a picture that every run has, and by `Run.log_prob`.
_READ_ANYWAY = ("collapse", "marginal_likelihood")


def unread(config: ml_collections.ConfigDict, given: Collection[str]) -> list[str]:
    """Returns a sentence for each given key that this run does not read.

    Keys that it does not know well enough are left out. It returns none at all for a run with
    plugins, which may read any option, for a configuration with open keys, and for one that breaks
    a rule, which is refused later.

    Args:
        config: as a config file returns it, with the given values.
        given: keys, such as "objective.gamma".
    """
    if not given or config.get("plugins") or left_open.open_keys(config) or not _is_valid(config):
        return []
    reasons = {key: _why_unread(config, key) for key in given}
    return [f"--config.{key} is not read in this run: {why}" for key, why in reasons.items() if why]


def _is_valid(config: ml_collections.ConfigDict) -> bool:
    try:
        validate(config)
    except UsageError:
        return False
    return True


def _why_unread(config: ml_collections.ConfigDict, key: str) -> str:
    group, _, option = key.partition(".")
    if group == "evaluations":
        return _of_evaluation(config, option.partition(".")[0])
    table = _TABLES.get(group, {})
    if not any(option in spec.options for spec in table.values()):
        return ""
    name = config[group].name
    if group == "posterior" and not name:
        name = OBJECTIVES[config.objective.name].default_posterior
    is_read = option in table[name].options or _is_read_otherwise(config, group, option)
    return "" if is_read else f"{group}.name is {name!r}"


def _is_read_otherwise(config: ml_collections.ConfigDict, group: str, option: str) -> bool:
    """Whether a run reads an option of the sampling-free objective though it has another one.

    A schedule of gamma also decides from which step on validations can be compared.
    """
    if group != "objective" or option not in _READ_BY_EVALUATIONS:
        return False
    has_schedule = config.objective.gamma_schedule != "constant"
    return has_schedule or not set(_EVALUATIONS).isdisjoint(config.evaluations.names)


def _of_evaluation(config: ml_collections.ConfigDict, name: str) -> str:
    if name not in EVALUATIONS or name in (*config.evaluations.names, *_READ_ANYWAY):
        return ""
    return f"{name!r} is not among evaluations.names"
