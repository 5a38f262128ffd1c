"""A config file: its configuration as the command line makes it, and the runs of its `sweep`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from inspect import signature
from typing import Any, cast

import ml_collections
from absl import flags
from ml_collections import config_flags

from sfvae_jax.errors import UsageError
from sfvae_jax.flag_errors import check_overrides, one_line

Overrides = dict[str, Any]
"""What a run of a sweep changes, by whole keys such as "objective.name"."""


def parse_config(arguments: Sequence[str]) -> ml_collections.ConfigDict:
    """Makes the configuration that `sfvae_jax.main` makes from the same flags.

    Args:
        arguments: --config=FILE.py[:PRESET], then any number of --config.KEY=VALUE.

    Raises:
        UsageError: if the config has no such key, or the file cannot be read.
    """
    argv = ["sweep", *arguments]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=argv)
    try:
        check_overrides(argv)
        values(argv)
        values.config.keys()  # a file that cannot be read shows only now
    except Exception as error:  # a bad flag, a bad value, or an error in the config file
        raise UsageError(one_line(error, argv)) from error
    return values.config


def load_sweep(config_file: str) -> list[Overrides]:
    """Returns what each run of a config file's `sweep(add)` or `sweep(add, preset)` changes.

    Args:
        config_file: FILE.py[:PRESET].

    Raises:
        UsageError: if the file has no sweep, its sweep adds no run, or one of them raises.
    """
    path, _, preset = config_file.partition(":")
    loader = SourceFileLoader("sweep_config", path)  # takes any file name
    spec = cast(ModuleSpec, importlib.util.spec_from_loader(loader.name, loader))
    module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except Exception as error:
        raise UsageError(one_line(error)) from error
    if not hasattr(module, "sweep"):
        raise UsageError(
            f"{path} has no sweep(add), which adds the runs; configs/mnist_collapse.py shows one"
        )
    runs: list[Overrides] = []
    try:
        asked = {"preset": preset} if "preset" in signature(module.sweep).parameters else {}
        module.sweep(lambda **changes: runs.append(changes), **asked)
    except Exception as error:
        raise UsageError(f"the sweep of {path}: {type(error).__name__}: {error}") from error
    if not runs:
        raise UsageError(f"the sweep of {path} adds no run; call add(), as in add(seed=0)")
    return runs
