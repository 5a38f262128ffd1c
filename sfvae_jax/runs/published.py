"""The figures that a paper published: their setting, and how runs differ from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import ml_collections

from sfvae_jax.data import source_of
from sfvae_jax.evaluation.registry import EVALUATIONS
from sfvae_jax.runs.files.config_file import flatten, nest, plain

# Keys that no figure depends on. What plugins add is named by other keys.
_NO_SETTING = {"preset", "seed", "data.device_bytes", "model.lowering"}
_NO_SETTING |= {"plugins", "plugin_digests"}
_NO_SETTING |= {
    f"train.{key}"
    for key in (
        "microbatch",
        "compilation_cache",
        "parallelism",
        "steps_per_call",
        "log_every",
        "checkpoint_every",
        "checkpoints_kept",
    )
}
_NO_SETTING |= {
    f"evaluations.{key}"
    for key in ("names", "steps", "step_pictures", "batch_size", "num_pictured")
}
_OF_PICTURES = ("evaluations.pictures.", "evaluations.sequence_pictures.")
# The last words of options of evaluations that choose what is measured or drawn, and how much at a
# time, but not the value of any measure.
_CHANGE_NO_VALUE = ("chunk_size", "inception_path", "sources", "families", "parts", "pictured")
# Keys that follow from the others if a config file leaves them open.
_DERIVED = {
    "objective.beta",
    "objective.penalty_weight",
    "posterior.name",
    "data.layer_types",
    "data.elements",
    "data.fingerprint",
}
_OPEN: tuple[Any, ...] = (None, "", [], ())


def with_setting(
    figures: Mapping[str, Any] | ml_collections.ConfigDict, config: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
    """Adds the setting of a config file to a paper's figures.

    Args:
        figures: "source", "num_runs", "rows" and, for keys in which the paper differs from the
            config or which are worth naming, "setting".
        config: the paper's setting, before a preset makes it smaller.
    """
    found = figures
    if not isinstance(found, ml_collections.ConfigDict):
        found = ml_collections.ConfigDict(figures)
    given = found.get("setting", ml_collections.ConfigDict()).to_dict()
    own = {key: value for key, value in flatten(plain(config)).items() if may_matter(key)}
    stated = {key: value for key, value in own.items() if not _is_open(key, value)}
    found.setting = nest(stated | flatten(given))
    return found


def with_differences(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the published figures of a run's config as results.json holds them.

    The entry "differences" has every key whose value is not the paper's, with both values.
    """
    figures = config.published.to_dict()
    if not figures:
        return {}
    found = differences([flatten(plain(config))], figures)
    pairs = {key: [own[0], paper] for key, (own, paper) in found.items()}
    return {**figures, "differences": pairs}


def differences(
    configs: Iterable[Mapping[str, Any]], figures: Mapping[str, Any]
) -> dict[str, tuple[list[Any], Any]]:
    """Returns the keys in which runs differ from a setting: their values, and the setting's.

    A key by which the rows of the figures are chosen is not a difference: each row has its own
    value. The exception is `data.name` of the embedded digits, which may have a row although the
    paper has all of MNIST.

    Args:
        configs: one flat configuration for each run.
        figures: with "setting" and "rows".
    """
    configs = list(configs)
    told_apart = _told_apart(figures)
    found = {}
    for key, value in flatten(figures.get("setting", {})).items():
        concerned = [config for config in configs if uses(config, key)]
        if key in told_apart or not concerned:
            continue
        own: list[Any] = []
        for config in concerned:
            if _comparable(config.get(key)) not in map(_comparable, own):
                own.append(config.get(key))
        if [_comparable(one) for one in own] != [_comparable(value)]:
            found[key] = (own, value)
    if "data.name" in told_apart:
        for name in (str(config.get("data.name")) for config in configs):
            if source_of(name).subset_of:
                found["data.name"] = ([name], source_of(name).subset_of)
    return found


def other_data(config: Mapping[str, Any], figures: Mapping[str, Any]) -> str | None:
    """Returns the data of the figures if a run has other data; None if they are the same.

    The embedded digits count as MNIST, and a folder or file is identified by its last name.

    Args:
        config: the flat configuration of the run.
        figures: with "setting" and "rows"; if the rows tell data sets apart, the row of a run has
            the same data.
    """
    paper = flatten(figures.get("setting", {})).get("data.name")
    of_rows = "data.name" in _told_apart(figures)
    if paper is None or of_rows or _data(paper) == _data(config.get("data.name")):
        return None
    return str(paper)


def meets(config: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a run has the values that a row of figures belongs to.

    A folder or file of data is identified by its last name; all other values must be equal.

    Args:
        config: the flat configuration of the run.
        where: the values of the row, flat.
    """
    return all(
        config.get(key) == value
        or (key == "data.name" and _has_path(value) and _data(config.get(key)) == _data(value))
        for key, value in where.items()
    )


def _told_apart(figures: Mapping[str, Any]) -> set[str]:
    """Returns the keys by which a run finds its row."""
    rows = figures.get("rows", {}).values()
    return {key for row in rows for key in flatten(row.get("where", {}))} | {"objective.name"}


def _has_path(name: Any) -> bool:
    return source_of(str(name)).takes_path


def _data(name: Any) -> tuple[str, str]:
    """Returns what identifies the data of a `data.name`: a path only counts by its last name."""
    source, name = source_of(str(name)), str(name)
    if source.takes_path:
        return source.stem, PurePath(source.path_in(name)).name
    return source.subset_of or name, ""


def may_matter(key: str) -> bool:
    """Whether a paper's figures may depend on a key."""
    if key in _NO_SETTING or key.startswith(_OF_PICTURES):
        return False
    return not (key.startswith("evaluations.") and key.endswith(_CHANGE_NO_VALUE))


def _is_open(key: str, value: Any) -> bool:
    return key in _DERIVED and value in _OPEN


def uses(config: Mapping[str, Any], key: str) -> bool:
    """Whether a run uses a key: it has it and takes the evaluation to which the key may belong."""
    group, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if group != "evaluations" or name == rest:
        return key in config
    takers = _measures_generated() if name == "generated" else {name}
    return key in config and not takers.isdisjoint(config.get("evaluations.names", ()))


def _measures_generated() -> set[str]:
    """Returns the evaluations whose measures depend on the group evaluations.generated."""
    return {name for name, spec in EVALUATIONS.items() if spec.uses_generated and spec.measures}


def _comparable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
