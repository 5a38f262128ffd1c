"""Carries out the runs that a config file's sweep(add) adds, or those of a grid.

  python -m launch.sweep --config=configs/mnist_collapse.py:laptop --workdir=runs/table4
  python -m launch.sweep --config=FILE.py --workdir=DIR --grid.train.learning_rate=1e-3,1e-4

Each run has the workdir DIR/NAME and the log DIR/logs/NAME.log, where NAME says what it changes.
--config.KEY=VALUE applies to every run, except to those that change KEY themselves.
--grid.KEY=VALUE,VALUE,... carries out one run for every combination of the values of all keys so
given, instead of the runs of sweep(add). Tuples stand in parentheses, as in
--grid.model.hidden_sizes='(64,32),(128,)'; a text with commas stands in quotes.
--filter='seed=[0-4]' chooses runs by what they change; several filters, with commas between them or
by repeating the flag, must all match.
--dry-run prints the commands of the runs. --tensorboard is passed to each of them;
tensorboard --logdir=DIR then shows all runs together.

The same command goes on where it was stopped: finished runs are left alone, others go on from
their checkpoints. Ctrl-C lets the active runs save; a second Ctrl-C kills them. A run that fails
does not stop the others. Runs that another process trains, such as a second sweep in DIR, are
waited for. At the end the table over seeds is printed and written to DIR.

Exit status: 0 if all runs are done, 1 if a run failed, 2 for a usage error, 130, 143 or 129 if
stopped by SIGINT, SIGTERM or SIGHUP.
"""

from __future__ import annotations

from sfvae_jax.runtime.signals import let_interrupts_end_the_process

if __name__ == "__main__":
    let_interrupts_end_the_process()  # before JAX is imported, which takes seconds

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launch.command import fail, make_folder, say_failed, status_of
from launch.flags import parse
from sfvae_jax.errors import RunError
from sfvae_jax.paths import local_path
from sfvae_jax.runtime.output import prepare, say

if TYPE_CHECKING:
    from launch.drive import Outcome
    from launch.runs import Run


def main(argv: list[str]) -> int:
    """Runs the command with these arguments; returns the exit status."""
    return status_of(lambda: _sweep(parse(argv, __doc__)))


def _sweep(flags: argparse.Namespace) -> int:
    # Imported here so that errors in flags need not wait for JAX.
    from launch.backends import ray_cluster
    from launch.backends.choice import backend_of
    from launch.drive import carry_out, find_ended
    from launch.runs import expand
    from sfvae_jax.watching.event_file import require_tensorboard

    folder = local_path(flags.workdir, "--workdir")
    runs = expand(flags.config, folder, flags.overrides, flags.filter, flags.grid)
    if flags.tensorboard:
        if flags.backend == "local":
            require_tensorboard()
        runs = [dataclasses.replace(run, flags=("--tensorboard",)) for run in runs]
    if flags.dry_run:
        for run in runs:
            say(shlex.join(["python", "-m", "sfvae_jax.main", *run.arguments]))
        return 0

    if flags.backend == "ray":
        ray_cluster.check_installed()
    logs = folder / "logs"
    make_folder(logs, "--workdir")
    outcome = find_ended(runs)
    carry_out(runs, outcome, lambda to_do: backend_of(flags, to_do, logs))
    return _summarize(runs, outcome, folder, logs)


def _summarize(runs: Sequence[Run], outcome: Outcome, folder: Path, logs: Path) -> int:
    """Prints what became of the runs; returns the exit status."""
    say_failed(outcome.failed, logs)
    counts = f"{len(outcome.done)} of {len(runs)} runs are done, {len(outcome.failed)} failed"
    if outcome.interrupted_by:
        return fail(f"stopped; {counts}; the same command continues", 128 + outcome.interrupted_by)
    done = [run.workdir / "results.json" for run in runs if run.name in outcome.done]
    is_whole = not done or _report(done, folder)
    if outcome.failed:
        return fail(f"{counts}; the same command tries them again", RunError.exit_status)
    return 0 if is_whole else RunError.exit_status


def _report(results: Sequence[Path], folder: Path) -> bool:
    """Writes and prints the table; returns whether all results are in it."""
    from sfvae_jax.report import say_report, write_report

    report = write_report(results, folder)
    say_report(report, folder)
    return not report.left_out


if __name__ == "__main__":
    prepare()
    sys.exit(main(sys.argv[1:]))
