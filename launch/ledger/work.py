"""Carries out the missing runs of tables, and files each as soon as it is finished."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import ml_collections

from launch.backends.base import Backend
from launch.drive import Outcome, carry_out, find_ended
from launch.ledger.entries import Entry
from launch.ledger.obstacles import Obstacles
from launch.ledger.plan import Price
from launch.ledger.record import defaults, make_record
from launch.ledger.records import path_of
from launch.runs import Run
from sfvae_jax.config import base_config
from sfvae_jax.errors import RunError, UsageError, in_one_line
from sfvae_jax.paths import shown
from sfvae_jax.runs.files.config_file import differences, flatten, plain, with_missing_keys
from sfvae_jax.runs.files.results_file import is_at_end, not_measured
from sfvae_jax.runs.published import may_matter, uses
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runs.workdir_checks import config_differences
from sfvae_jax.runtime.files import write_json
from sfvae_jax.runtime.lock import is_locked
from sfvae_jax.runtime.output import say

_ASIDE = ".other"  # appended to the folder of a run that had another configuration


@dataclasses.dataclass
class Work:
    """Runs to carry out, and their outcome.

    Attributes:
        entries: the entries by the names of their runs.
        runs: the runs in their order.
        skipped: why other runs cannot be carried out here, by their names.
        filed: the names of the runs whose records have been written.
        outcome: which runs finished, failed or were interrupted.
    """

    entries: dict[str, Entry]
    runs: list[Run]
    skipped: dict[str, str]
    filed: list[str] = dataclasses.field(default_factory=list)
    outcome: Outcome = dataclasses.field(default_factory=Outcome)

    @property
    def num_left(self) -> int:
        """How many runs are neither filed nor failed; the same command continues with them."""
        return len(self.runs) - len(self.filed) - len(self.outcome.failed)


def work_on(entries: Sequence[Entry], price: Mapping[Entry, Price], folder: Path) -> Work:
    """Returns the runs that can be carried out here, in the given order.

    Args:
        entries: the runs to carry out.
        price: the estimated time of each run.
        folder: where the workdirs are.
    """
    obstacles, skipped, runs = Obstacles(), {}, []
    for entry in entries:
        obstacle = obstacles.of(entry)
        if obstacle:
            skipped[entry.path] = obstacle
            continue
        runs.append(entry.run(folder))
    by_name = {entry.path: entry for entry in entries}
    seconds = {run.name: price[by_name[run.name]].seconds / run.steps for run in runs}
    known = [value for value in seconds.values() if math.isfinite(value)]
    usual = median(known) if known else 1.0
    weights = {name: value if math.isfinite(value) else usual for name, value in seconds.items()}
    runs = [dataclasses.replace(run, step_weight=weights[run.name]) for run in runs]
    return Work(by_name, runs, skipped)


def do(
    work: Work,
    make_backend: Callable[[list[Run]], Backend],
    *,
    records: Path,
    calibration: float,
    deadline: float = math.inf,
) -> None:
    """Carries out the runs until the deadline or a signal, and files each when it is finished.

    Args:
        work: the runs; their outcome is added to it.
        make_backend: as `launch.drive.carry_out` takes it.
        records: the folder of all records.
        calibration: the calibration of this machine.
        deadline: when to stop, by the clock of `time.monotonic`.

    Raises:
        RunError: if a record cannot be written; running processes have been told to save.
    """

    def file(run: Run) -> None:
        entry = work.entries[run.name]
        try:
            record = make_record(entry, run, calibration)
        except (UsageError, OSError) as error:
            work.outcome.failed[run.name] = in_one_line(error)
            return
        path = path_of(entry, records)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, record)
        except OSError as error:
            raise RunError(
                f"cannot write the record {shown(path)}: {error.strerror}; the run stays in"
                f" {shown(run.workdir)}, and the same command files it"
            ) from error
        work.filed.append(run.name)
        say(f"filed: {shown(path)}", sys.stderr)

    work.outcome = Outcome(when_done=file)
    for run in work.runs:
        _set_aside_another(run)
    find_ended(work.runs, work.outcome)
    carry_out(work.runs, work.outcome, make_backend, deadline)


def _set_aside_another(run: Run) -> None:
    """Renames the workdir of a run that does not fit the table any more; nothing of it is lost.

    It also renames a workdir whose measures during training are missing or were taken with other
    options, because an evaluation at the end cannot take them again.

    Raises:
        RunError: if it cannot be renamed.
    """
    files = Workdir(run.workdir)
    try:
        if not files.config.exists() or is_locked(run.workdir):
            return
        is_another = bool(config_differences(files.config, run.config, base_config()))
        if not (is_another or _lacks_measures_during_training(files, run.config)):
            return
    except (UsageError, OSError):
        return  # the run itself will report what is wrong
    number = 1
    while (aside := run.workdir.with_name(f"{run.workdir.name}{_ASIDE}{number}")).exists():
        number += 1
    try:
        run.workdir.rename(aside)
    except FileNotFoundError:
        return  # another process has renamed it
    except OSError as error:
        raise RunError(f"cannot rename {shown(run.workdir)}: {error.strerror}") from error
    say(
        f"{shown(run.workdir)} holds a run with other settings, or lacks measures taken during"
        f" training; it is kept as {aside.name}",
        sys.stderr,
    )


def _lacks_measures_during_training(files: Workdir, config: ml_collections.ConfigDict) -> bool:
    """Returns whether measures during training are missing or were taken with other options."""
    found = files.read_results()
    history = found.get("history", {})
    if is_at_end(found, config.train.steps):
        last = found.get("ended_at", config.train.steps)
        if not_measured(history, config.evaluations.steps, last):
            return True
    if not history:
        return False
    kept, asked = flatten(found.get("config", {})), flatten(plain(config))
    common = set(kept.get("evaluations.names", ())) & set(asked["evaluations.names"])
    taken = {**asked, "evaluations.names": common}

    def matters(key: str) -> bool:
        return key.startswith("evaluations.") and may_matter(key) and uses(taken, key)

    return bool(differences(with_missing_keys(kept, defaults()), asked, matters))
