"""The final measures of a run: new ones, and earlier ones that still hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from sfvae_jax import evaluation
from sfvae_jax.config import base_config
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runs.files.results_file import is_at_end

# Entries of results.json that map the names of measures to values.
_BY_MEASURE = ("metrics", "not_applicable", "caveats", "texts")


def combined(
    found: Mapping[str, Any], config: ml_collections.ConfigDict, entries: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the entries of results.json: new measures, and earlier ones that still hold.

    An evaluation that is named again replaces all its measures.

    Args:
        found: the entries in results.json.
        config: the resolved configuration of the new measures.
        entries: the new entries, with "step" and "checkpoint".

    Returns:
        The entries, with the group `evaluations` of all these measures under "evaluations".
    """
    now = plain(config)["evaluations"]
    before = still_valid(found, config, entries["step"], entries["checkpoint"]) or {}
    before = {name: before[name] for name in before if name not in now["names"]}
    measures = {measure for names in before.values() for measure in names}
    kept = {
        key: {m: value for m, value in found.get(key, {}).items() if m in measures}
        for key in _BY_MEASURE
    }
    options = {name: found["config"]["evaluations"].get(name, now[name]) for name in before}
    return {
        **entries,
        **{key: {**kept[key], **entries[key]} for key in _BY_MEASURE},
        "evaluations": {**now, **options, "names": [*before, *now["names"]]},
    }


def still_valid(
    found: Mapping[str, Any], config: ml_collections.ConfigDict, step: int, checkpoint: str
) -> dict[str, tuple[str, ...]] | None:
    """Returns the evaluations in results.json whose measures still hold, with their names.

    Args:
        found: the entries in results.json.
        config: the resolved configuration that is measured now.
        step: the checkpoint's step.
        checkpoint: the checkpoint's digest. Files of an earlier version lack it; their step counts.

    Returns:
        None if the whole file belongs to another checkpoint, to the other of its parameters and
        their moving average, or to other data.
    """
    before = _group(found, config.plugins)
    now = config.evaluations
    if before is None or found.get("step") != step:
        return None
    if before.part != now.part or before.use_ema != now.use_ema:
        return None
    if found.get("checkpoint", checkpoint) != checkpoint:
        return None
    if _fingerprint(found["config"]) not in (None, config.data.fingerprint):
        return None
    known = evaluation.EVALUATIONS
    others = before.generated.to_dict() != now.generated.to_dict()
    return {
        name: evaluation.metric_names(before, name)
        for name in before.names
        if name in before and not (others and known[name].uses_generated)
    }


def has_measures(found: Mapping[str, Any], config: ml_collections.ConfigDict) -> bool:
    """Returns whether results.json has all final measures of a config, taken with its options.

    Args:
        found: the entries in results.json.
        config: the resolved configuration.
    """
    before, now = _group(found, config.plugins), config.evaluations
    at_end = is_at_end(found, config.train.steps)
    if before is None or not found.get("metrics") or not at_end:
        return False
    of_others = set(evaluation.EVALUATIONS) - set(now.names) | {"names"}
    there, here = (
        {key: value for key, value in group.to_dict().items() if key not in of_others}
        for group in (before, now)
    )
    return there == here and set(now.names) <= set(before.names)


def _fingerprint(settings: Mapping[str, Any]) -> Any:
    """The fingerprint of the data; None if an earlier version wrote the file without it."""
    data = settings.get("data")
    return data.get("fingerprint") if isinstance(data, dict) else None


def _group(found: Mapping[str, Any], plugins: Sequence[str]) -> ml_collections.ConfigDict | None:
    """The group `evaluations` of results.json, with defaults for missing keys.

    Evaluations of plugins that are no longer named are not in it. None if the file has no valid
    group.
    """
    group = base_config(plugins=plugins).evaluations
    given = found.get("config", {}).get("evaluations")
    if not isinstance(given, dict):
        return None
    try:
        for key, value in flatten(given).items():
            value = tuple(value) if isinstance(value, list) else value  # JSON has no tuples
            if key.partition(".")[0] not in group:
                continue
            group.update_from_flattened_dict({key: value})
        for name in group.names:
            if name in group:
                evaluation.metric_names(group, name)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    return group
