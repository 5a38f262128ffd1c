"""Whether a run still has the data that it began with."""

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
    """The configuration with `data.fingerprint` as the data are now.

    Args:
        config: resolved.
        splits: of its data set.

    Raises:
        UsageError: if the config has another one, or the data cannot be read.
    """
    found, given = splits.fingerprint, config.data.fingerprint
    if given not in ("", found):
        raise UsageError(
            f"data.fingerprint is {given!r}, but that of {config.data.name} is {found!r}; leave it"
            " empty to take the data as they are, or give the data that it belongs to"
        )
    config = config.copy_and_resolve_references()
    config.data.fingerprint = found
    return config


def changes(config: ml_collections.ConfigDict, splits: data.Splits, files: Workdir) -> str:
    """How the data differ from those that a run was trained on, in words; empty if they do not.

    Args:
        config: with the fingerprint of the data as they are now.
        splits: of its data set.
        files: of the run, which has its own in config.json.
    """
    if not files.config.exists():
        return ""
    then, now = read_json(files.config).get("data", {}).get("fingerprint"), config.data.fingerprint
    if then:
        return "" if then == now else f"the data were {then} when it began, and are {now} now"
    if checkpoint_steps(files.checkpoints) and splits.is_drawn_by_hash:
        return (
            "it was begun by an earlier version, which held other examples out of training than"
            " this one does"
        )
    return ""


def refuse_changes(config: ml_collections.ConfigDict, splits: data.Splits, files: Workdir) -> None:
    """Refuses to go on with data that have changed: held-out examples may now be trained on.

    Raises:
        UsageError: saying how they differ.
    """
    found = changes(config, splits, files)
    if found:
        raise UsageError(
            f"workdir {files.name} holds a run of other data in {config.data.name}: {found}."
            " Nothing has been written; put the data back, or give another --workdir;"
            " --mode=evaluate measures on the data as they are now"
        )
