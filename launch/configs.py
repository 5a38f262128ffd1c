"""A config file: its configuration as the command line makes it, and the runs of its `sweep`."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec, SourceFileLoader
from inspect import signature
from typing import Any, cast

from sfvae_jax.command_line.flag_config import parse_config
from sfvae_jax.command_line.flag_errors import one_line
from sfvae_jax.errors import UsageError
from sfvae_jax.shipped import config_path

__all__ = ["Overrides", "load_sweep", "parse_config"]

# What a run of a sweep changes, by whole keys such as "objective.name".
Overrides = dict[str, Any]


def load_sweep(config_file: str) -> list[Overrides]:
    """Returns what each run of a config file's `sweep(add)` or `sweep(add, preset)` changes.

    Args:
        config_file: FILE.py[:PRESET].

    Raises:
        UsageError: if the file has no sweep, its sweep adds no run, or one of them raises.
    """
    path, _, preset = config_path(config_file).partition(":")
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
