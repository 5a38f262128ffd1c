"""The runs of a sweep, each with its configuration, its name, its workdir and its command."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections

from launch.configs import Overrides, load_sweep, parse_config
from launch.filters import select
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.final_measures import has_measures
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runs.run_names import names_of
from sfvae_jax.runs.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    name: str
    workdir: Path
    config: ml_collections.ConfigDict  # resolved
    config_file: str  # FILE.py[:PRESET]
    overrides: tuple[str, ...]  # --config.KEY=VALUE, the sweep's and then the run's own
    step_weight: float = 1.0  # how long one step takes, beside those of the other runs

    @property
    def steps(self) -> int:
        """How many steps it trains."""
        return self.config.train.steps

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of `python -m sfvae_jax.main`."""
        return (f"--config={self.config_file}", f"--workdir={self.workdir}", *self.overrides)


def expand(
    config_file: str, folder: Path, overrides: Sequence[str] = (), filters: Sequence[str] = ()
) -> list[Run]:
    """The runs of a config file's sweep, every configuration made and checked.

    Args:
        config_file: FILE.py[:PRESET].
        folder: of the sweep; each run has a workdir in it.
        overrides: --config.KEY=VALUE, of every run; what a run changes itself goes before it.
        filters: as `filters.select` takes them.

    Raises:
        UsageError: if one of them cannot be run, or two are the same.
    """
    parse_config((f"--config={config_file}", *overrides))
    sweep = load_sweep(config_file)
    # Of the whole sweep, so that no filter changes a name.
    names = dict(zip(map(id, sweep), names_of(sweep), strict=True))
    runs = [
        make_run(config_file, overrides, change, names[id(change)], folder / names[id(change)])
        for change in select(sweep, filters)
    ]
    _check_unlike(runs)
    return runs


def make_run(
    config_file: str, overrides: Sequence[str], changes: Overrides, name: str, workdir: Path
) -> Run:
    """One run of a sweep, its configuration made and checked.

    Args:
        config_file: FILE.py[:PRESET].
        overrides: --config.KEY=VALUE; what the run changes itself goes before them.
        changes: what the run changes.
        name: of the run.
        workdir: of the run.

    Raises:
        UsageError: if it cannot be run.
    """
    own = tuple(f"--config.{key}={value}" for key, value in changes.items())
    try:
        config = parse_config((f"--config={config_file}", *overrides, *own))
        _check_kept(config, changes)
        config = resolve(config)
    except UsageError as error:
        raise UsageError(f"run {name}: {error}") from error
    return Run(name, workdir, config, config_file, (*overrides, *own))


def is_finished(run: Run) -> bool:
    """Whether its workdir holds its final measures, those that it asks for now.

    Raises:
        UsageError: if the workdir cannot be used, or holds a run of another configuration.
        OSError: if it cannot be looked at.
    """
    files = Workdir(run.workdir)
    files.check(run.config, base_config())
    return has_measures(files.read_results(), run.config)


def _check_kept(config: ml_collections.ConfigDict, changes: Overrides) -> None:
    """Refuses a value that the command line does not give back, such as a group of keys."""
    given = flatten(config.to_dict())
    for key, value in changes.items():
        if key not in given or _comparable(given[key]) != _comparable(value):
            raise UsageError(
                f"{key}={value!r} cannot be given on the command line; add plain values"
            )


def _comparable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_unlike(runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(repr(plain(run.config)), run)
        if other is not run:
            raise UsageError(
                f"runs {other.name} and {run.name} of the sweep are alike; leave out one of them"
            )
