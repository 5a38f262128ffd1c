"""The group `evaluations` of what `Run.measure` is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from sfvae_jax import evaluation
from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.runs.files.config_file import flatten


def measured(
    config: ml_collections.ConfigDict, names: Sequence[str], options: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """Returns the group `evaluations` of a run with other evaluations and options.

    Args:
        config: resolved, of the run.
        names: the evaluations, or one of them; (): those of the run.
        options: values of options of single evaluations or of batch_size, by key without the
            "evaluations." in front.

    Raises:
        UsageError: if a name or a key is unknown, a value breaks the rule of its option, or the
            evaluations have only pictures.
    """
    group = config.evaluations.copy_and_resolve_references()
    group.names = (names,) if isinstance(names, str) else tuple(names) or group.names
    for name in group.names:
        if name not in evaluation.EVALUATIONS:
            raise unknown_name("evaluation", name, evaluation.EVALUATIONS)
    # The others say which model and which examples an evaluation of the command takes.
    known = [key for key in flatten(group.to_dict()) if "." in key or key == "batch_size"]
    for key, value in options.items():
        if key not in known:
            raise unknown_name("option of evaluations", key, known)
        try:
            group.update_from_flattened_dict({key: value})
        except (TypeError, ValueError) as error:
            raise UsageError(f"evaluations.{key}: {error}") from error
    evaluation.check_options(group)
    if group.names and not any(evaluation.metric_names(group, name) for name in group.names):
        raise UsageError(
            f"{', '.join(group.names)}: has no measures, only pictures; the command draws them"
            " with --mode=evaluate"
        )
    return group
