"""The group `evaluations` of what `Run.measure` is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from sfvae_jax import evaluation
from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.options import Option, check_value, entry_of, keys, plain, unknown_key


def measured(
    config: ml_collections.ConfigDict, names: Sequence[str], options: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """Returns the group `evaluations` of a run with other evaluations and options.

    Args:
        config: resolved, of the run.
        names: the evaluations, or one of them; (): those of the run.
        options: values of options of these evaluations, of the group `generated` or of batch_size,
            by key without the "evaluations." in front.

    Raises:
        UsageError: if a name or a key is unknown, a value breaks the rule of its option, or the
            evaluations have only pictures.
    """
    group = config.evaluations.copy_and_resolve_references()
    group.names = (names,) if isinstance(names, str) else tuple(names) or group.names
    for name in group.names:
        if name not in evaluation.EVALUATIONS:
            raise unknown_name("evaluation", name, evaluation.EVALUATIONS)
    for key, value in options.items():
        _set(group, str(key), plain(value))
    evaluation.check_options(group)
    if group.names and not any(evaluation.metric_names(group, name) for name in group.names):
        raise UsageError(
            f"{', '.join(group.names)}: has no measures, only pictures; the command draws them"
            " with --mode=evaluate"
        )
    return group


def _set(group: ml_collections.ConfigDict, key: str, value: Any) -> None:
    """Sets an option that the evaluations of the group read."""
    table = evaluation.option_group()
    name, entry = key.partition(".")[0], entry_of(table, key)
    if name in evaluation.EVALUATIONS and name not in group.names:
        raise UsageError(
            f"options: {key} is not read, because {name!r} is not measured, only"
            f" {', '.join(group.names)}"
        )
    # Other keys without a dot say which model and which examples the command evaluates.
    if not isinstance(entry, Option) or not ("." in key or key == "batch_size"):
        raise unknown_key(f"evaluations.{key}", keys(table, "evaluations."))
    check_value(f"evaluations.{key}", value, entry.rule)
    group.update_from_flattened_dict({key: value})
