"""Carrying out the missing runs of tables, and filing each as soon as it is finished."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import ml_collections

from launch.backends.base import Backend
from launch.drive import Outcome, carry_out, look_over
from launch.ledger.entries import Entry
from launch.ledger.obstacles import Obstacles
from launch.ledger.plan import Price
from launch.ledger.record import defaults, make_record
from launch.ledger.records import path_of
from launch.runs import Run
from sfvae_jax.config import base_config
from sfvae_jax.errors import RunError, UsageError, in_one_line
from sfvae_jax.paths import shown
from sfvae_jax.runs.files.config_file import differences, flatten, of_earlier, plain
from sfvae_jax.runs.files.results_file import is_at_end, not_measured
from sfvae_jax.runs.published import decides, measures
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runs.workdir_checks import config_differences
from sfvae_jax.runtime.files import write_json
from sfvae_jax.runtime.lock import is_locked
from sfvae_jax.runtime.output import say

_ASIDE = ".other"  # what the folder of a run of another configuration ends with


@dataclasses.dataclass
class Work:
    """Runs to carry out, and what became of them.

    Attributes:
        entries: by the names of the runs.
        runs: in their order.
        skipped: why runs cannot be carried out here, by their names.
        filed: the names of the runs whose records have been written.
        outcome: what became of the runs.
    """

    entries: dict[str, Entry]
    runs: list[Run]
    skipped: dict[str, str]
    filed: list[str] = dataclasses.field(default_factory=list)
    outcome: Outcome = dataclasses.field(default_factory=Outcome)

    @property
    def num_left(self) -> int:
        """How many runs are neither filed nor failed; the same command goes on with them."""
        return len(self.runs) - len(self.filed) - len(self.outcome.failed)


def work_on(entries: Sequence[Entry], price: Mapping[Entry, Price], folder: Path) -> Work:
    """The runs that can be carried out here, in this order.

    Args:
        entries: the runs that are wanted.
        price: of each.
        folder: of the workdirs.
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
    """Carries out the runs until the deadline or a signal; files each when it is finished.

    Args:
        work: which it completes.
        make_backend: as `launch.drive.carry_out` takes it.
        records: the folder of all records.
        calibration: of this machine.
        deadline: on the clock of `time.monotonic`.

    Raises:
        RunError: if a record cannot be written; the runs at work have been told to save.
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
                f"cannot write the record {shown(path)}: {error.strerror}; the run is kept in"
                f" {shown(run.workdir)}, and the same command files it"
            ) from error
        work.filed.append(run.name)
        say(f"filed: {shown(path)}", sys.stderr)

    work.outcome = Outcome(when_done=file)
    for run in work.runs:
        _set_aside_another(run)
    look_over(work.runs, work.outcome)
    carry_out(work.runs, work.outcome, make_backend, deadline)


def _set_aside_another(run: Run) -> None:
    """Renames the workdir of a run as the table wanted it before; nothing of it is lost.

    So it does where measures on the way are lost or were taken otherwise: an evaluation of the end
    alone does not take them again.

    Raises:
        RunError: if it cannot be renamed.
    """
    files = Workdir(run.workdir)
    try:
        if not files.config.exists() or is_locked(run.workdir):
            return
        is_another = bool(config_differences(files.config, run.config, base_config()))
        if not (is_another or _lacks_what_was_on_the_way(files, run.config)):
            return
    except (UsageError, OSError):
        return  # whatever is wrong with it, the run itself will tell
    number = 1
    while (aside := run.workdir.with_name(f"{run.workdir.name}{_ASIDE}{number}")).exists():
        number += 1
    try:
        run.workdir.rename(aside)
    except FileNotFoundError:
        return  # another process has done so
    except OSError as error:
        raise RunError(f"cannot rename {shown(run.workdir)}: {error.strerror}") from error
    say(
        f"{shown(run.workdir)} holds a run of other settings, or lacks measures on the way; it is"
        f" kept as {aside.name}",
        sys.stderr,
    )


def _lacks_what_was_on_the_way(files: Workdir, config: ml_collections.ConfigDict) -> bool:
    """Whether a step has no measures, or those of other options of the same evaluations."""
    found = files.read_results()
    history = found.get("history", {})
    if is_at_end(found, config.train.steps):
        last = found.get("ended_at", config.train.steps)
        if not_measured(history, config.evaluations.steps, last):
            return True
    if not history:
        return False
    there, here = flatten(found.get("config", {})), flatten(plain(config))
    common = set(there.get("evaluations.names", ())) & set(here["evaluations.names"])
    taken = {**here, "evaluations.names": common}

    def matters(key: str) -> bool:
        return key.startswith("evaluations.") and decides(key) and measures(taken, key)

    return bool(differences(of_earlier(there, defaults()), here, matters))
