"""Checks that a run can begin or resume in a folder; they change nothing there."""

from __future__ import annotations

import os
from pathlib import Path

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runs.checkpoints.folders import DAMAGED
from sfvae_jax.runs.files.config_file import (
    decides_training,
    differences,
    flatten,
    plain,
    with_missing_keys,
)
from sfvae_jax.runs.files.metrics_file import Record
from sfvae_jax.runs.files.results_file import Results
from sfvae_jax.runtime.files import read_json

# Orbax takes paths with these characters for patterns when it looks for files.
_PATTERNS = "*?[\\"


def check_writable(folder: Path, inner: str = "") -> None:
    """Checks that a workdir, or a folder in it, can be made and written to.

    Args:
        folder: the workdir.
        inner: the name of a folder in it.

    Raises:
        UsageError: if it cannot, saying why.
    """
    wanted = folder / inner
    try:
        nearest = next(path for path in (wanted, *wanted.parents) if path.exists())
    except OSError as error:
        raise not_writable(folder, error) from error
    if not nearest.is_dir():
        raise UsageError(f"cannot write to workdir {shown(folder)}: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to workdir {shown(folder)}: {nearest} is not writable")


def not_writable(folder: Path, error: OSError) -> UsageError:
    """Returns the error for a folder that the system does not allow to be written."""
    return UsageError(f"cannot write to workdir {shown(folder)}: {error.strerror}")


def check_path(folder: Path) -> None:
    """Checks the path of a new run for characters with which Orbax cannot find its own files.

    Raises:
        UsageError: naming the character.
    """
    text = str(folder)
    found = [c for c in text if c in _PATTERNS or ord(c) < 32 or "\ud800" <= c <= "\udfff"]
    if found:
        raise UsageError(
            f"--workdir={text!r} contains {found[0]!r}; checkpoints in such a folder could not be"
            " read again. Expected a path in UTF-8 without * ? [ \\ and control characters"
        )


def check_config(
    path: Path, config: ml_collections.ConfigDict, defaults: ml_collections.ConfigDict | None
) -> None:
    """Checks that the config.json of a workdir trains the same as a configuration.

    Raises:
        UsageError: saying what differs.
    """
    differing = config_differences(path, config, defaults)
    if differing:
        raise UsageError(
            f"workdir {shown(path.parent)} holds a run of another config: {'; '.join(differing)}."
            " Give another --workdir, or the same config"
        )


def config_differences(
    path: Path, config: ml_collections.ConfigDict, defaults: ml_collections.ConfigDict | None
) -> list[str]:
    """Says in words how the training of a config.json differs from that of a configuration.

    Args:
        path: the config.json.
        config: resolved.
        defaults: values of keys that a run of an earlier version may lack.

    Raises:
        UsageError: if it cannot be read.
    """
    known = {} if defaults is None else flatten(plain(defaults))
    found, asked = with_missing_keys(flatten(read_json(path)), known), flatten(plain(config))
    return differences(found, asked, decides_training)


def evidence_of_checkpoints(
    checkpoints: Path, results: Results, records: list[Record], checkpoint_every: int
) -> str | None:
    """Says in words what proves that a checkpoint was once whole; None if nothing does.

    Args:
        checkpoints: their folder.
        results: the entries of results.json.
        records: those of metrics.jsonl.
        checkpoint_every: `train.checkpoint_every`.
    """
    if any(checkpoints.glob(f"*{DAMAGED}")):
        return f"damaged ones (*{DAMAGED}) were set aside"
    # Step 0 is measured before there is any checkpoint.
    history = [step for step in results.get("history", {}) if int(step) > 0]
    measured = [results["step"]] if "step" in results else history
    if measured:
        return f"results.json holds measures of step {measured[-1]}"
    last = max((record["step"] for record in records), default=0)
    # No step is taken beyond the second checkpoint before the first is whole.
    if last > 2 * checkpoint_every:
        return f"metrics.jsonl reaches step {last}"
    return None
