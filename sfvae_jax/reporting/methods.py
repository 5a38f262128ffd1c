"""Groups runs into methods: runs that only differ in their seed are one method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sfvae_jax.reporting.runs import WHAT_IS_MEASURED, Run
from sfvae_jax.runs.files.config_file import flatten
from sfvae_jax.runs.files.results_file import is_number

_SEED = "seed"
_FINGERPRINT = "data.fingerprint"

Config = dict[str, Any]  # flat


def by_method(runs: Sequence[Run], aside: str | None = None) -> dict[str, list[Run]]:
    """Returns the runs of each method by its name: the objective, and the keys that tell it apart.

    Args:
        runs: the contents of results.json, as from `read_run`.
        aside: another key in which the runs of one method may differ, such as a swept one.
    """
    configs = [flatten(run["config"]) for run in runs]
    varying = _varying_keys(configs, {_SEED, aside})
    groups: dict[str, list[Run]] = {}
    for run, config in zip(runs, configs, strict=True):
        groups.setdefault(_label(config, varying), []).append(run)
    return groups


def swept_keys(runs: Sequence[Run]) -> list[str]:
    """Returns the numeric keys in which runs differ that agree in all others but the seed."""
    varying = _varying_keys([flatten(run["config"]) for run in runs], {_SEED})
    keys = sorted({key for keys in varying.values() for key in keys})
    return [key for key in keys if any(_differ(g, key) for g in by_method(runs, key).values())]


def _differ(runs: Sequence[Run], key: str) -> bool:
    values = {value_of(run, key) for run in runs}
    return None not in values and len(values) > 1


def value_of(run: Run, key: str) -> float | None:
    """Returns the number that a run has under a config key; None if it is not a number."""
    value = flatten(run["config"]).get(key)
    return value if is_number(value) else None


def _varying_keys(configs: list[Config], aside: set[str | None]) -> dict[str, list[str]]:
    """Returns the keys, except those aside, in which the runs of each objective differ.

    Evaluating a run again does not make it another method.
    """
    aside = aside | {"objective.name", "plugins", WHAT_IS_MEASURED}  # their digests tell plugins
    keys = sorted(set().union(*configs) - aside)
    by_objective: dict[str, list[Config]] = {}
    for config in configs:
        by_objective.setdefault(config["objective.name"], []).append(config)
    return {name: _distinguishing(keys, group) for name, group in by_objective.items()}


def _distinguishing(keys: list[str], group: list[Config]) -> list[str]:
    """Returns the keys for which some runs have different values."""
    # Runs of an earlier version may lack a key.
    varying = [key for key in keys if len({repr(c[key]) for c in group if key in c}) > 1]
    named = [key for key in varying if key != _FINGERPRINT]
    # Different data most often have different names; if not, their fingerprint tells them apart.
    names_suffice = _number_of_values(group, named) == _number_of_values(group, varying)
    return named if names_suffice else varying


def _number_of_values(group: list[Config], keys: list[str]) -> int:
    return len({_values(config, keys) for config in group})


def _values(config: Config, keys: list[str]) -> tuple[str, ...]:
    return tuple(repr(config.get(key)) for key in keys)


def _label(config: Config, varying: dict[str, list[str]]) -> str:
    name = config["objective.name"]
    details = ", ".join(f"{key}={config.get(key)}" for key in varying[name])
    return f"{name} ({details})" if details else name
