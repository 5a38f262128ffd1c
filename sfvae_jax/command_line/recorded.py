"""The configuration of a run from its config.json, for commands that are given no config file.

This is itself a config file for the flag --config, whose preset is the workdir of the run. Thus the
flags --config.KEY=VALUE apply to the run's own configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ml_collections

from sfvae_jax.command_line.typed import typed_values
from sfvae_jax.loading.recorded import recorded_config
from sfvae_jax.runs.workdir import Workdir


def with_recorded_config(argv: Sequence[str]) -> list[str]:
    """Adds the flag --config to --workdir=DIR --mode=evaluate if it is missing.

    Args:
        argv: the name of the command and its flags, as typed.

    Raises:
        UsageError: if the workdir holds no run, or its config.json cannot be read.
    """
    workdirs = typed_values(argv, "workdir")
    evaluates = typed_values(argv, "mode")[-1:] == ["evaluate"]
    if not (workdirs and evaluates) or typed_values(argv, "config"):
        return [*argv]
    return [argv[0], config_flag(workdirs[-1]), *argv[1:]]


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
    advice = "; give the folder of a run, or train first, with --config=FILE.py"
    made = recorded_config(files, advice=advice)
    made.data.fingerprint = ""  # data that have changed are measured, and results.json says so
    published = files.read_results().get("published", {})
    made.published = ml_collections.ConfigDict(
        {name: value for name, value in published.items() if name != "differences"}
    )
    return made
