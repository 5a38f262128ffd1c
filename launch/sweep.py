"""Carries out the runs that a config file's sweep(add) names.

  python -m launch.sweep --config=configs/mnist_collapse.py:laptop --workdir=runs/table4

Each run has the workdir DIR/NAME and the log DIR/logs/NAME.log, where NAME says what it changes.
--config.KEY=VALUE goes to every run; what a run changes itself goes before it.
--filter='seed=[0-4]' chooses runs by what they change; of several (commas between, or the flag
again) all must match.
--dry-run prints the commands.

The same command goes on where it was stopped: finished runs are left alone, others go on from
their checkpoints. Ctrl-C lets the runs at work save; a second one kills them. A run that fails does
not stop the others; one that another process trains, such as a second sweep in DIR, is waited for.
At the end the table over seeds is printed, and written to DIR.

Exit status: 0 all done, 1 a run failed, 2 a usage error, 130, 143 or 129
stopped by SIGINT, SIGTERM or SIGHUP.
"""

from __future__ import annotations

from sfvae_jax.stopping import let_interrupts_end_the_process

if __name__ == "__main__":
    let_interrupts_end_the_process()  # before JAX is imported, which takes seconds

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launch.flags import parse
from sfvae_jax.errors import RunError, UsageError, in_one_line
from sfvae_jax.output import prepare, say, say_error
from sfvae_jax.paths import local_path

if TYPE_CHECKING:
    from launch.drive import Outcome
    from launch.runs import Run


def main(argv: list[str]) -> int:
    """Carries out what the flags ask for; returns the exit status."""
    try:
        return _sweep(parse(argv, __doc__))
    except (UsageError, RunError) as error:
        return _fail(str(error), error.exit_status)
    except OSError as error:  # a full disk, a folder in the place of a file
        return _fail(in_one_line(error), RunError.exit_status)


def _sweep(flags: argparse.Namespace) -> int:
    # Imported here so that a mistyped flag does not wait for JAX.
    from launch import ray_cluster
    from launch.backends import backend_of
    from launch.drive import carry_out, look_over
    from launch.runs import expand

    folder = local_path(flags.workdir, "--workdir")
    runs = expand(flags.config, folder, flags.overrides, flags.filter)
    if flags.dry_run:
        for run in runs:
            say(shlex.join(["python", "-m", "sfvae_jax.main", *run.arguments]))
        return 0

    if flags.backend == "ray":
        ray_cluster.check_installed()
    logs = folder / "logs"
    _make_folder(logs)
    outcome = look_over(runs)
    carry_out(runs, outcome, lambda to_do: backend_of(flags, to_do, logs))
    return _tell(runs, outcome, folder, logs)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; change --workdir") from error


def _tell(runs: Sequence[Run], outcome: Outcome, folder: Path, logs: Path) -> int:
    """Prints what became of the runs; returns the exit status."""
    for name, error in outcome.failed.items():
        log = logs / f"{name}.log"
        say(f"failed: {name}: {error}" + f"; log: {log}" * log.exists(), sys.stderr)
    counts = f"{len(outcome.done)} of {len(runs)} runs are done, {len(outcome.failed)} failed"
    if outcome.interrupted_by:
        return _fail(f"stopped; {counts}; the same command goes on", 128 + outcome.interrupted_by)
    done = [run.workdir / "results.json" for run in runs if run.name in outcome.done]
    is_whole = not done or _report(done, folder)
    if outcome.failed:
        return _fail(f"{counts}; the same command tries them again", RunError.exit_status)
    return 0 if is_whole else RunError.exit_status


def _report(results: Sequence[Path], folder: Path) -> bool:
    """Writes and prints the table; returns whether all of them are in it."""
    from sfvae_jax.report import say_report, write_report

    report = write_report(results, folder)
    say_report(report, folder)
    return not report.left_out


def _fail(message: str, status: int) -> int:
    say_error(message)
    return status


if __name__ == "__main__":
    prepare()
    sys.exit(main(sys.argv[1:]))
