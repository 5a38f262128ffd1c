"""The fingerprint of a run's data: whether the run still has the data that it began with."""

from __future__ import annotations

import ml_collections

from sfvae_jax import data
from sfvae_jax.errors import UsageError
from sfvae_jax.runs.checkpoints.folders import checkpoint_steps
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime.files import read_json


def with_fingerprint(
    config: ml_collections.ConfigDict, splits: data.Splits
) -> ml_collections.ConfigDict:
    """Returns the configuration with the fingerprint of the data as they are now.

    Args:
        config: resolved.
        splits: those of its data set.

    Raises:
        UsageError: if `data.fingerprint` is set to another one, or the data cannot be read.
    """
    found, given = splits.fingerprint, config.data.fingerprint
    if given not in ("", found):
        raise UsageError(
            f"data.fingerprint is {given!r}, but the fingerprint of data {config.data.name!r} is"
            f" {found!r}; leave it empty to use the data as they are, or choose the data that it"
            " belongs to"
        )
    config = config.copy_and_resolve_references()
    config.data.fingerprint = found
    return config


def data_changes(
    data_config: ml_collections.ConfigDict, splits: data.Splits, files: Workdir
) -> str:
    """Says in words how the data differ from those that a run was trained on; "" if they do not.

    Args:
        data_config: the group `data`, with the fingerprint of the data as they are now.
        splits: those of the data set.
        files: those of the run, whose config.json has the fingerprint of its data.
    """
    if not files.config.exists():
        return ""
    then = read_json(files.config).get("data", {}).get("fingerprint")
    now = data_config.fingerprint
    if then:
        return "" if then == now else f"the data were {then} when the run began, and are {now} now"
    if checkpoint_steps(files.checkpoints) and splits.is_drawn_by_hash:
        return "the run was begun by an earlier version, which held out other examples"
    return ""


def refuse_changes(
    data_config: ml_collections.ConfigDict, splits: data.Splits, files: Workdir
) -> None:
    """Refuses to resume with data that have changed: held-out examples might be trained on.

    Raises:
        UsageError: saying how they differ.
    """
    found = data_changes(data_config, splits, files)
    if found:
        raise UsageError(
            f"workdir {files.name} holds a run on other data of {data_config.name!r}: {found}."
            " Nothing has been written. Restore the data, or give another --workdir;"
            " --mode=evaluate measures on the data as they are now"
        )
