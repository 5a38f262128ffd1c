"""config.json: the configuration of a run as plain JSON, and how two configurations differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import ml_collections

from sfvae_jax import data, objectives

_ABSENT = object()
_SAME_TRAINING = (
    "train.compilation_cache",
    "train.parallelism",
    "data.fingerprint",
    "plugins",
    "plugin_digests",
)


def decides_training(key: str) -> bool:
    """Whether a key decides what is trained; the measures taken afterwards may change.

    `data_fingerprint` tells changes of the data themselves apart from changes of the settings, and
    `plugin_files` those of plugins.
    """
    if key in _SAME_TRAINING:
        return False
    return not key.startswith("evaluations.") or key == "evaluations.steps"


def plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns a configuration as JSON reads it back, without the figures that papers published."""
    content = json.loads(json.dumps(config.to_dict()))
    content.pop("published")
    return content


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turns {"a": {"b": 1}} into {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Turns {"a.b": 1} into {"a": {"b": 1}}."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, name = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    return tree


def with_missing_keys(kept: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Completes the configuration of an earlier version with the keys that it lacks.

    Earlier versions let `objective.num_probes` be set where the objective did not read it. It is 0
    then, the only value that is allowed now.

    Args:
        kept: the content of a run's config.json, flat.
        defaults: the values of all keys, flat.
    """
    before = data.before(str(kept.get("data.name", "")))
    whole = {**defaults, **{f"data.{key}": value for key, value in before.items()}, **kept}
    info = objectives.OBJECTIVES.get(str(whole.get("objective.name", "")))
    if info is not None and "num_probes" not in info.options:
        whole["objective.num_probes"] = 0
    return whole


def differences(
    kept: dict[str, Any],
    asked: dict[str, Any],
    matters: Callable[[str], bool],
    places: tuple[str, str] = ("in that run", "in this one"),
) -> list[str]:
    """Says in words what differs under the keys that matter; `places` are the words for the two."""
    return [
        f"{key} is {_shown(kept, key)} {places[0]} and {_shown(asked, key)} {places[1]}"
        for key in sorted(kept.keys() | asked.keys())
        if matters(key) and kept.get(key, _ABSENT) != asked.get(key, _ABSENT)
    ]


def _shown(flat: dict[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "absent"
