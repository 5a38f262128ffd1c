"""A run that is there goes on to more steps than it was first asked for."""

from __future__ import annotations

import logging

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runs.workdir_checks import config_differences
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.files import read_json, write_json
from sfvae_jax.training.early_stopping import has_stopped
from sfvae_jax.training.schedules import obstacles_to_more_steps
from sfvae_jax.training.state import TrainState

log = logging.getLogger("sfvae_jax")

_STEPS = "train.steps"


def check(
    files: Workdir, config: ml_collections.ConfigDict, defaults: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
    """Checks a workdir as `Workdir.check` does, but lets its run go on to more steps.

    Args:
        files: those of the run; nothing is changed.
        config: the resolved configuration that is asked for.
        defaults: values of keys that a run of an earlier version may lack.

    Returns:
        The configuration that the workdir has: the same one, with fewer steps if the run goes on.

    Raises:
        UsageError: as `Workdir.check` does, or if the steps that were taken would be others in a
            longer run.
    """
    before = _with_steps_before(files, config)
    if before is None or config_differences(files.config, before, defaults):
        files.check(config, defaults)
        return config
    files.check(before, defaults)
    steps = before.train.steps
    found = obstacles_to_more_steps(config, steps)
    if found:
        raise UsageError(
            f"workdir {files.name} holds a run of {steps} steps, which cannot go on to"
            f" {config.train.steps}, because its first steps would have been different:"
            f" {'; '.join(found)}. Give another --workdir, or --config.{_STEPS}={steps}"
        )
    return before


def begin(
    files: Workdir,
    before: ml_collections.ConfigDict,
    config: ml_collections.ConfigDict,
    state: TrainState,
) -> int | None:
    """Makes a run that is there one of more steps, if that is asked for.

    Args:
        files: those of the run, which has locked them.
        before: what `check` returned.
        config: the configuration with more steps.
        state: that of the last checkpoint; it has been read, so that the run can go on.

    Returns:
        The number of steps that the run had before; None if it keeps its number.

    Raises:
        RunError: if a file cannot be written.
    """
    if before.train.steps == config.train.steps:
        return None
    log.info(
        "the run of %d steps goes on to %d: train.steps in config.json is changed",
        *(before.train.steps, config.train.steps),
    )
    with processes.agreed():
        if processes.is_main():
            found = files.read_results()
            if "ended_at" in found and not has_stopped(state, config.train):
                del found["ended_at"]  # first, because it would say that the longer run is finished
                with files.writing(files.results):
                    write_json(files.results, found)
            with files.writing(files.config):
                write_json(files.config, plain(config))
    return before.train.steps


def _with_steps_before(
    files: Workdir, config: ml_collections.ConfigDict
) -> ml_collections.ConfigDict | None:
    """Returns a configuration with the steps of the run that is there; None if not fewer."""
    if not files.config.is_file():
        return None
    steps = flatten(read_json(files.config)).get(_STEPS)
    if not isinstance(steps, int) or not 0 < steps < config.train.steps:
        return None
    before = config.copy_and_resolve_references()
    before.train.steps = steps
    return before
