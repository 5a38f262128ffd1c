"""Flags that a run does not read, because of what its objective, posterior or likelihood is."""

from __future__ import annotations

from collections.abc import Iterable

import ml_collections

from sfvae_jax import left_open
from sfvae_jax.config import validate
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import EVALUATIONS
from sfvae_jax.objectives import OBJECTIVES

# Objectives tell which of these they read.
_OF_OBJECTIVES = ("num_samples", "gamma", "tau")
_FLOWS = ("planar", "iaf", "auxiliary_flow")
_NETWORKS = ("iaf", "auxiliary_flow")
# By whom other options are read: the names of posteriors or of likelihoods.
_READERS: dict[str, tuple[str, ...]] = {
    "posterior.variance": ("constant",),
    "posterior.stddev": ("diagonal", "full_covariance", *_FLOWS),
    "posterior.num_flows": _FLOWS,
    "posterior.hidden_sizes": _NETWORKS,
    "posterior.context_size": _NETWORKS,
    "posterior.reverse_sizes": ("auxiliary_flow",),
    "posterior.auxiliary_start": ("auxiliary_flow",),
    "likelihood.variance": ("gaussian", "sequence"),
    "likelihood.min_variance": ("heteroscedastic_gaussian",),
    "likelihood.max_variance": ("heteroscedastic_gaussian",),
}
# Evaluations that read gamma whatever the objective is.
_READ_GAMMA = ("bias", "gradient_noise")
# Their options are also read by a picture that every run has, and by `Run.log_prob`.
_READ_ANYWAY = ("collapse", "marginal_likelihood")


def unread(config: ml_collections.ConfigDict, given: Iterable[str]) -> list[str]:
    """Returns a sentence for each given key that this run does not read.

    Keys that it does not know well enough are left out. It returns none at all for a run with
    plugins, which may read any option, for a configuration with open keys, and for one that breaks
    a rule, which is refused later.

    Args:
        config: as a config file returns it, with the given values.
        given: keys, such as "objective.gamma".
    """
    if config.get("plugins") or left_open.open_keys(config) or not _is_valid(config):
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
    if group == "objective" and option in _OF_OBJECTIVES:
        return _of_objective(config, option)
    if key not in _READERS:
        return ""
    name = config[group].name
    if key.startswith("posterior.") and not name:
        name = OBJECTIVES[config.objective.name].default_posterior
    return "" if name in _READERS[key] else f"{group}.name is {name!r}"


def _of_objective(config: ml_collections.ConfigDict, option: str) -> str:
    name = config.objective.name
    is_read = option in OBJECTIVES[name].options or (option == "gamma" and _takes_gamma(config))
    return "" if is_read else f"objective.name is {name!r}"


def _takes_gamma(config: ml_collections.ConfigDict) -> bool:
    """Whether a run reads gamma though its objective does not.

    A schedule of gamma also decides from which step on validations can be compared.
    """
    has_schedule = config.objective.gamma_schedule != "constant"
    return has_schedule or not set(_READ_GAMMA).isdisjoint(config.evaluations.names)


def _of_evaluation(config: ml_collections.ConfigDict, name: str) -> str:
    if name not in EVALUATIONS or name in (*config.evaluations.names, *_READ_ANYWAY):
        return ""
    return f"{name!r} is not among evaluations.names"
