"""Makes a table of runs: one row per method, measured values beside published ones.

  python -m sfvae_jax.report RUN [RUN ...] [--output=DIR] [--latex]

RUN is the workdir of a finished run, or a folder with such workdirs below it; links are followed.
Runs that differ in nothing but their seed are one method, with its mean and standard deviation over
the seeds. The command prints Markdown (LaTeX with --latex), and writes into DIR, by default the
folder that the runs share,

  report.md, report.tex    the table, to read and to paste into a paper
  report.json              its numbers, not rounded
  report.csv               one row per run, measure and step, not rounded
  report.png               the table as points with intervals, at the last step and at those with
                           published figures
  report_curves.png        every measure over the steps at which it was taken: mean and standard
                           deviation over seeds; only if there are two steps
  report_sweep.png         every measure over each numeric key in which the runs differ, in the
                           same way; only if there is such a key
  report_samples.png, report_latent_plane.png, report_manifold.png
                           these figures of all methods side by side, if two or more have them

Runs that are not finished or cannot be read are left out; the report and stderr say which and why.

Exit status: 0 all runs are in the report, 1 some were left out, 2 a usage error.
"""

from __future__ import annotations

from sfvae_jax.runtime.signals import let_interrupts_end_the_process

if __name__ == "__main__":
    let_interrupts_end_the_process()  # before JAX is imported, which takes seconds

import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags
from absl import logging as absl_logging

from sfvae_jax.errors import RunError, UsageError, in_one_line
from sfvae_jax.paths import local_path, shown
from sfvae_jax.reporting.csv_rows import run_names, to_csv
from sfvae_jax.reporting.curves import draw_panels, panels_over_keys, panels_over_steps
from sfvae_jax.reporting.latex import to_latex
from sfvae_jax.reporting.markdown import left_out_note, to_markdown
from sfvae_jax.reporting.pictures.points import draw_report
from sfvae_jax.reporting.pictures.side_by_side import PICTURES, draw_tiles, side_by_side
from sfvae_jax.reporting.runs import Run, find_runs, read_run, read_runs
from sfvae_jax.reporting.summary import summarize
from sfvae_jax.runtime import output
from sfvae_jax.runtime.files import json_text, write_text

__all__ = [
    "Report",
    "find_runs",
    "read_run",
    "summarize",
    "to_csv",
    "to_latex",
    "to_markdown",
    "write_report",
]

_LATEX = flags.DEFINE_bool("latex", False, "Print report.tex instead of report.md.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder that the report is written to.")


class Report(NamedTuple):
    """A report that was written.

    Attributes:
        text: its Markdown.
        latex: its LaTeX.
        files: the names of its files.
        left_out: why a run was left out, by the path of its results.json.
    """

    text: str
    latex: str
    files: tuple[str, ...]
    left_out: dict[Path, str]


def write_report(paths: Sequence[Path], folder: Path) -> Report:
    """Writes the report of runs: report.md, .tex, .json, .csv and .png, and report_*.png.

    Pictures of an earlier report that this one does not have are removed.

    Args:
        paths: the results.json of each run, as from `find_runs`.
        folder: where the files are written.

    Raises:
        UsageError: if no run is finished.
        OSError: if the folder cannot be written.
    """
    runs, left_out = read_runs(paths)
    if not runs:
        raise UsageError(next(iter(left_out.values())))
    summary = summarize(list(runs.values()))
    reasons = {str(path): reason for path, reason in left_out.items()}
    texts = {
        "report.md": to_markdown(summary) + left_out_note(left_out),
        "report.tex": to_latex(summary, run_names(list(runs)), left_out),
        "report.json": json_text({**summary, "left_out": reasons}),
        "report.csv": to_csv(runs),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        for name, text in texts.items():
            write_text(folder / name, text)
        drawn = _draw(runs, summary, folder)
    return Report(texts["report.md"], texts["report.tex"], (*texts, *drawn), left_out)


def _draw(runs: dict[Path, Run], summary: dict[str, Any], folder: Path) -> list[str]:
    """Draws the pictures, and removes those of an earlier report that this one does not have.

    Returns:
        The names of the pictures that were drawn.
    """
    methods, all_runs = summary["methods"], list(runs.values())
    over_steps, over_keys = panels_over_steps(all_runs), panels_over_keys(all_runs)
    measured = any(method["measures"] for method in methods)
    pictures = {
        "report.png": (measured, partial(draw_report, methods, all_runs)),
        "report_curves.png": (over_steps, partial(draw_panels, over_steps)),
        "report_sweep.png": (over_keys, partial(draw_panels, over_keys)),
        **{
            f"report_{name}": (tiles, partial(draw_tiles, tiles, PICTURES[name]))
            for name, tiles in side_by_side(runs).items()
        },
    }
    for name, (content, draw) in pictures.items():
        if content:
            draw(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return [name for name, (content, _) in pictures.items() if content]


def say_report(report: Report, folder: Path, *, as_latex: bool = False) -> None:
    """Prints a report that was written to a folder, and which runs were left out."""
    output.say(report.latex if as_latex else report.text)
    for path, reason in report.left_out.items():
        output.say(f"left out: {shown(path)}: {reason}", sys.stderr)
    output.say(f"written to {folder}: {', '.join(report.files)}", sys.stderr)


def main(argv: list[str]) -> None:
    """Prints and writes the report of the runs named on the command line."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # JAX logs which backends it lacks
    try:
        sys.exit(_report(argv[1:]))
    except UsageError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        _fail(f"cannot write the report: {in_one_line(error)}; give another --output", 2)


def _report(folders: list[str]) -> int:
    if not folders:
        raise UsageError("name at least one run: python -m sfvae_jax.report RUN [RUN ...]")
    paths = find_runs(folders)
    shared = os.path.commonpath([path.parent for path in paths])
    folder = local_path(_OUTPUT.value or shared, "--output")
    report = write_report(paths, folder)
    say_report(report, folder, as_latex=_LATEX.value)
    return RunError.exit_status if report.left_out else 0


def _fail(message: str, status: int) -> None:
    output.say_error(message)
    sys.exit(status)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other process writes a report there, if the file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    output.prepare()
    with output.reader_may_leave():
        app.run(main)
