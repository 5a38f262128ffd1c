"""The final measures of a run: those taken now, and those before that still hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections

from sfvae_jax import evaluation
from sfvae_jax.config import base_config
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runs.files.results_file import is_at_end

# Entries of results.json with a value a measure.
_BY_MEASURE = ("metrics", "not_applicable", "caveats", "texts")


def added_up(
    found: Mapping[str, Any], config: ml_collections.ConfigDict, entries: Mapping[str, Any]
) -> dict[str, Any]:
    """The entries of results.json: new measures, and earlier ones that still hold.

    An evaluation that is named again replaces all its measures.

    Args:
        found: the entries that are there.
        config: resolved, that the new ones were taken with.
        entries: the new ones, with "step" and "checkpoint".

    Returns:
        The entries, and under "evaluations" the group that all of them were taken with.
    """
    now = plain(config)["evaluations"]
    before = standing(found, config, entries["step"], entries["checkpoint"]) or {}
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


def standing(
    found: Mapping[str, Any], config: ml_collections.ConfigDict, step: int, checkpoint: str
) -> dict[str, tuple[str, ...]] | None:
    """The evaluations in results.json whose measures still hold, and the names of these.

    Args:
        found: the entries of results.json.
        config: resolved, of what is measured now.
        step: of the checkpoint.
        checkpoint: its digest. What an earlier version wrote has none, and is known by its step.

    Returns:
        None where the whole file belongs to another checkpoint, or to other data.
    """
    before = _group(found)
    if before is None or found.get("step") != step or before.part != config.evaluations.part:
        return None
    if found.get("checkpoint", checkpoint) != checkpoint:
        return None
    if _fingerprint(found["config"]) not in (None, config.data.fingerprint):
        return None
    known = evaluation.EVALUATIONS
    others = before.generated.to_dict() != config.evaluations.generated.to_dict()
    return {
        name: evaluation.metric_names(before, name)
        for name in before.names
        if name in known and not (others and known[name].uses_generated)
    }


def has_measures(found: Mapping[str, Any], config: ml_collections.ConfigDict) -> bool:
    """Whether results.json holds all final measures that a config asks for, taken as it says.

    Args:
        found: the entries of results.json.
        config: resolved.
    """
    before, now = _group(found), config.evaluations
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
    """That of the data; None where an earlier version did not know it."""
    data = settings.get("data")
    return data.get("fingerprint") if isinstance(data, dict) else None


def _group(found: Mapping[str, Any]) -> ml_collections.ConfigDict | None:
    """The group `evaluations` of results.json, with defaults for keys that it does not know.

    None where it is not one.
    """
    group = base_config().evaluations
    given = found.get("config", {}).get("evaluations")
    if not isinstance(given, dict):
        return None
    try:
        for key, value in flatten(given).items():
            value = tuple(value) if isinstance(value, list) else value  # as JSON has it
            group.update_from_flattened_dict({key: value})
        for name in group.names:
            evaluation.metric_names(group, name)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    return group
