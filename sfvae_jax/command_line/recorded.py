"""The configuration of a run from its config.json, for commands that are given no config file.

This is itself a config file for the flag --config, whose preset is the workdir of the run. Thus the
flags --config.KEY=VALUE apply to the run's own configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ml_collections

from sfvae_jax.loading.recorded import recorded_config
from sfvae_jax.runs.workdir import Workdir


def with_recorded_config(argv: Sequence[str]) -> list[str]:
    """Adds the flag --config to --workdir=DIR --mode=evaluate if it is missing.

    Args:
        argv: the name of the command and its flags, as typed.

    Raises:
        UsageError: if the workdir holds no run, or its config.json cannot be read.
    """
    workdir = _given(argv, "workdir")
    if workdir is None or _given(argv, "mode") != "evaluate" or _given(argv, "config") is not None:
        return [*argv]
    return [argv[0], config_flag(workdir), *argv[1:]]


def config_flag(workdir: str) -> str:
    """Returns the flag --config for the configuration of a run.

    Raises:
        UsageError: as `get_config` does.
    """
    get_config(workdir)  # so that an error is raised here and not by the flag
    return f"--config={Path(__file__).resolve()}:{workdir}"


def get_config(workdir: str) -> ml_collections.ConfigDict:
    """Returns the configuration that a run was trained with.

    The published figures are those in its results.json; there are none if it has not been measured
    yet.

    Args:
        workdir: the folder of the run.

    Raises:
        UsageError: if it holds no run, or its config.json cannot be read.
    """
    files = Workdir(workdir)
    made = recorded_config(files, "train first, with --config=FILE.py")
    made.data.fingerprint = ""  # data that have changed are measured, and results.json says so
    published = files.read_results().get("published", {})
    made.published = ml_collections.ConfigDict(
        {name: value for name, value in published.items() if name != "differences"}
    )
    return made


def _given(argv: Sequence[str], flag: str) -> str | None:
    """Returns the last value of a flag, given as --flag=VALUE or --flag VALUE."""
    found = None
    for arg, following in zip(argv, [*argv[1:], None], strict=True):
        name, equals, value = arg.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            found = value if equals else following
    return found
