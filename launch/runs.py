"""The runs of a sweep: each with its name, workdir, configuration and command."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import ml_collections

from launch.configs import Overrides, load_sweep, parse_config
from launch.grid import grid_of
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.measuring.final_measures import has_measures
from sfvae_jax.runs import going_on
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runs.run_names import names_of
from sfvae_jax.runs.workdir import Workdir

_T = TypeVar("_T")

# A comma belongs to a value, such as (512, 256), unless another KEY= follows it.
_BETWEEN_FILTERS = re.compile(r",(?=[\w.]+=)")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        name: its name, which says what it changes.
        workdir: the folder for what it writes.
        config: its configuration, resolved.
        config_file: FILE.py[:PRESET].
        overrides: --config.KEY=VALUE, those of the sweep before the run's own.
        step_weight: how long a step takes, relative to those of the other runs.
        flags: other flags of the run, such as --tensorboard.
    """

    name: str
    workdir: Path
    config: ml_collections.ConfigDict
    config_file: str
    overrides: tuple[str, ...]
    step_weight: float = 1.0
    flags: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """The number of training steps."""
        return self.config.train.steps

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of `python -m sfvae_jax.main`."""
        config, workdir = f"--config={self.config_file}", f"--workdir={self.workdir}"
        return (config, workdir, *self.overrides, *self.flags)


def expand(
    config_file: str,
    folder: Path,
    overrides: Sequence[str] = (),
    filters: Sequence[str] = (),
    grid: Sequence[str] = (),
) -> list[Run]:
    """Makes and checks the runs of a config file's sweep, or of a grid.

    Args:
        config_file: FILE.py[:PRESET].
        folder: the folder of the sweep, in which each run has its workdir.
        overrides: --config.KEY=VALUE for every run; what a run changes itself takes precedence.
        filters: which runs to choose, as in `select`.
        grid: --grid.KEY=VALUE,... (`grid_of`), whose runs replace those of the config file's sweep.

    Raises:
        UsageError: if a run has no valid configuration, or two runs are the same.
    """
    parse_config((f"--config={config_file}", *overrides))
    sweep = grid_of(grid, config_file, overrides) if grid else load_sweep(config_file)
    # Names are those of the whole sweep, so that no filter changes one.
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
    """Makes and checks one run of a sweep.

    Args:
        config_file: FILE.py[:PRESET].
        overrides: --config.KEY=VALUE; what the run changes itself takes precedence.
        changes: what the run changes.
        name: its name.
        workdir: its workdir.

    Raises:
        UsageError: if its configuration is not valid.
    """
    own = tuple(f"--config.{key}={value}" for key, value in changes.items())
    try:
        config = parse_config((f"--config={config_file}", *overrides, *own))
        _check_kept(config, changes)
        config = resolve(config)
    except UsageError as error:
        raise UsageError(f"run {name}: {error}") from error
    return Run(name, workdir, config, config_file, (*overrides, *own))


def select(changes: Sequence[Overrides], filters: Sequence[str]) -> list[Overrides]:
    """Chooses runs that are given by what they change, as `select_runs` does."""
    return select_runs(changes, filters, lambda change: change)


def select_runs(
    runs: Sequence[_T], filters: Sequence[str], changes_of: Callable[[_T], Overrides]
) -> list[_T]:
    """Chooses the runs that match every KEY=GLOB.

    Args:
        runs: of any kind.
        filters: KEY=GLOB, or several with commas between them.
        changes_of: returns what a run changes.

    Raises:
        UsageError: if a filter is not KEY=GLOB, or no run matches; it names the known values.
    """
    wanted = [_filter(part) for text in filters for part in _BETWEEN_FILTERS.split(text)]
    changes = list(map(changes_of, runs))
    pairs = zip(runs, changes, strict=True)
    chosen = [run for run, change in pairs if all(_matches(change, *one) for one in wanted)]
    if not chosen:
        asked = ",".join(f"{key}={glob}" for key, glob in wanted)
        raise UsageError(f"no run matches --filter={asked}. Known: {_known(changes)}")
    return chosen


def is_finished(run: Run) -> bool:
    """Returns whether the workdir of a run holds all final measures that the run now asks for.

    A run that goes on to more steps is not finished.

    Raises:
        UsageError: if the workdir cannot be used, or holds a run with another configuration.
        OSError: if it cannot be read.
    """
    files = Workdir(run.workdir)
    before = going_on.check(files, run.config, base_config(plugins=run.config.plugins))
    has_its_steps = before.train.steps == run.steps
    return has_its_steps and has_measures(files.read_results(), run.config)


def _check_kept(config: ml_collections.ConfigDict, changes: Overrides) -> None:
    """Checks that the command line reproduces every value; a group of keys, say, is lost."""
    given = flatten(config.to_dict())
    for key, value in changes.items():
        if key not in given or _comparable(given[key]) != _comparable(value):
            raise UsageError(
                f"{key}={value!r} cannot be given on the command line; call add() with plain"
                " values, such as numbers, texts and tuples"
            )


def _comparable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_unlike(runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(repr(plain(run.config)), run)
        if other is not run:
            raise UsageError(
                f"runs {other.name} and {run.name} of the sweep are the same; leave out one of them"
            )


def _filter(text: str) -> tuple[str, str]:
    key, equals, glob = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--filter must be KEY=GLOB, such as 'seed=[0-4]', got {text!r}")
    return key, glob


def _matches(change: Overrides, key: str, glob: str) -> bool:
    return key in change and fnmatchcase(str(change[key]), glob)


def _known(changes: Sequence[Overrides]) -> str:
    values: dict[str, dict[str, None]] = {}
    for change in changes:
        for key, value in change.items():
            values.setdefault(key, {})[str(value)] = None
    return "; ".join(f"{key}={' | '.join(known)}" for key, known in values.items())
