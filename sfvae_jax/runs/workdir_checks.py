"""What a folder must be for a run to begin or go on there; nothing is changed."""

from __future__ import annotations

import os
from pathlib import Path

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runs.checkpoints.folders import DAMAGED
from sfvae_jax.runs.files.config_file import differences, flatten, of_earlier, of_training, plain
from sfvae_jax.runs.files.metrics_file import Record
from sfvae_jax.runs.files.results_file import Results
from sfvae_jax.runtime.files import read_json

# What Orbax, on its way to the files of a checkpoint, reads as a pattern.
_PATTERNS = "*?[\\"


def check_writable(folder: Path, inner: str = "") -> None:
    """Refuses a workdir that cannot be made or written, or a folder in it.

    Args:
        folder: the workdir.
        inner: the name of a folder in it.

    Raises:
        UsageError: saying why.
    """
    wanted = folder / inner
    try:
        there = next(path for path in (wanted, *wanted.parents) if path.exists())
    except OSError as error:
        raise not_writable(folder, error) from error
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to workdir {shown(folder)}: {there} is not writable")


def not_writable(folder: Path, error: OSError) -> UsageError:
    """The error for a folder that the system does not let us write."""
    return UsageError(f"cannot write to workdir {shown(folder)}: {error.strerror}")


def check_path(folder: Path) -> None:
    """Refuses a new run in a folder where Orbax does not find again what it has saved.

    Raises:
        UsageError: naming the character.
    """
    text = str(folder)
    found = [c for c in text if c in _PATTERNS or ord(c) < 32 or "\ud800" <= c <= "\udfff"]
    if found:
        raise UsageError(
            f"--workdir={text!r} contains {found[0]!r}, and checkpoints in such a folder could not"
            " be read again; expected a path in UTF-8 without any of * ? [ \\ and control"
            " characters"
        )


def check_config(
    path: Path, config: ml_collections.ConfigDict, defaults: ml_collections.ConfigDict | None
) -> None:
    """Refuses a config.json of another run, as `Workdir.check` does.

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
    """In words, how the training of the run of a config.json differs from that of a configuration.

    Args:
        path: of the config.json.
        config: resolved.
        defaults: of keys that a run of an earlier version does not know yet.

    Raises:
        UsageError: if it cannot be read.
    """
    known = {} if defaults is None else flatten(plain(defaults))
    found, asked = of_earlier(flatten(read_json(path)), known), flatten(plain(config))
    return differences(found, asked, of_training)


def evidence_of_checkpoints(
    checkpoints: Path, results: Results, records: list[Record], config: ml_collections.ConfigDict
) -> str | None:
    """In words, what can only be there once a checkpoint was whole; None if nothing is."""
    if any(checkpoints.glob(f"*{DAMAGED}")):
        return f"damaged ones (*{DAMAGED}) were set aside"
    measured = [results["step"]] if "step" in results else list(results.get("history", {}))
    if measured:
        return f"results.json holds measures of step {measured[-1]}"
    last = max((record["step"] for record in records), default=0)
    # The second is begun when the first is whole, and until it is begun no step is taken.
    if last > 2 * config.train.checkpoint_every:
        return f"metrics.jsonl reaches step {last}"
    return None
