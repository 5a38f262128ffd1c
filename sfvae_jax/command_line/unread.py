"""Flags that change nothing, because no part of the run reads them."""

from __future__ import annotations

from collections.abc import Iterable

import ml_collections

from sfvae_jax import left_open
from sfvae_jax.config import validate
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import EVALUATIONS
from sfvae_jax.objectives import OBJECTIVES, ObjectiveInfo

_FLOWS = ("planar", "iaf", "auxiliary_flow")
_NETWORKS = ("iaf", "auxiliary_flow")
# The key that decides whether an option is read, and its values with which it is.
_READ_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "objective.gamma_start": ("objective.gamma_schedule", ("linear",)),
    "objective.gamma_steps": ("objective.gamma_schedule", ("linear",)),
    "objective.gamma_values": ("objective.gamma_schedule", ("piecewise",)),
    "objective.gamma_boundaries": ("objective.gamma_schedule", ("piecewise",)),
    "objective.beta_start": ("objective.beta_schedule", ("linear", "cyclic")),
    "objective.beta_steps": ("objective.beta_schedule", ("linear", "cyclic")),
    "objective.beta_cycles": ("objective.beta_schedule", ("cyclic",)),
    "objective.beta_ramp": ("objective.beta_schedule", ("cyclic",)),
    "objective.entropy_start": ("objective.entropy_schedule", ("linear",)),
    "objective.entropy_steps": ("objective.entropy_schedule", ("linear",)),
    "posterior.variance": ("posterior.name", ("constant",)),
    "posterior.stddev": ("posterior.name", ("diagonal", "full_covariance", *_FLOWS)),
    "posterior.num_flows": ("posterior.name", _FLOWS),
    "posterior.hidden_sizes": ("posterior.name", _NETWORKS),
    "posterior.context_size": ("posterior.name", _NETWORKS),
    "posterior.reverse_sizes": ("posterior.name", ("auxiliary_flow",)),
    "posterior.auxiliary_start": ("posterior.name", ("auxiliary_flow",)),
    "likelihood.variance": ("likelihood.name", ("gaussian", "sequence")),
    "likelihood.min_variance": ("likelihood.name", ("heteroscedastic_gaussian",)),
    "likelihood.max_variance": ("likelihood.name", ("heteroscedastic_gaussian",)),
}


# Objectives tell which of these they read.
_OF_OBJECTIVE = ("num_samples", "gamma", "tau")
# Evaluations that take the sampling-free ELBO of models with other objectives.
_TAKE_GAMMA = {"bias", "gradient_noise"}


def unread(config: ml_collections.ConfigDict, given: Iterable[str]) -> list[str]:
    """Returns a sentence for each given key that changes nothing in this run.

    Nothing is said about runs with plugins, which may read any option, about keys that depend on
    one that is still open, and about a configuration that breaks a rule, which is refused later.

    Args:
        config: as a config file returns it, with the given values.
        given: keys, such as "objective.gamma".
    """
    open_keys = left_open.open_keys(config)
    if config.plugins or not (open_keys or _is_valid(config)):
        return []
    info = OBJECTIVES[config.objective.name]
    found = []
    for key in given:
        why = _of_evaluation(config, key) or _of_objective(config, info, key)
        deciding, values = _READ_WITH.get(key, ("", ()))
        if not why and deciding and deciding not in open_keys:
            why = _of_value(deciding, _value(config, deciding), values)
        if why:
            found.append(f"--config.{key} changes nothing here: {why}")
    return found


def _is_valid(config: ml_collections.ConfigDict) -> bool:
    try:
        validate(config)
    except UsageError:
        return False
    return True


def _of_evaluation(config: ml_collections.ConfigDict, key: str) -> str:
    """Says that an evaluation is not taken, if the key belongs to one of those."""
    group, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if group != "evaluations" or name not in EVALUATIONS:
        return ""
    names = config.evaluations.names
    return "" if name in names else f"{name!r} is not among evaluations.names"


def _of_objective(config: ml_collections.ConfigDict, info: ObjectiveInfo, key: str) -> str:
    """Says who reads an option that the objective does not read."""
    group, _, option = key.partition(".")
    read = "gamma" if option.startswith("gamma_") else option
    if group != "objective" or read not in _OF_OBJECTIVE or read in info.options:
        return ""
    if read == "gamma" and not _TAKE_GAMMA.isdisjoint(config.evaluations.names):
        return ""
    readers = tuple(name for name, other in OBJECTIVES.items() if read in other.options)
    return _of_value("objective.name", config.objective.name, readers)


def _of_value(deciding: str, value: str, values: tuple[str, ...]) -> str:
    """Says with which values of a key an option is read, if its value is none of them."""
    if value in values:
        return ""
    readers = " or ".join(values)
    return f"it is only read where {deciding} is {readers}, and here it is {value!r}"


def _value(config: ml_collections.ConfigDict, key: str) -> str:
    group, _, name = key.partition(".")
    if key == "posterior.name" and not config.posterior.name:
        return OBJECTIVES[config.objective.name].default_posterior
    return config[group][name]
