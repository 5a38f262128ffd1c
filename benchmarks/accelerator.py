"""Correctness, speed and memory of the library on one accelerator: one record, in minutes.

  bash benchmarks/accelerator.sh [--output=PREFIX] [--small]

In this order:

1. Correctness: loss and gradient of the sampling-free step in float32, TF32 and bfloat16, against
   the same step by its formulas in float64 on the CPU, for a few images. If float32 is wrong,
   nothing is timed.
2. Steps: value and gradient for the networks of SFVAE Table 4 (m = 200, batch 200) and for images
   of 64 x 64 x 3 as in CelebA (m = 64, batch 64), sampling-free and sampling, by the library, by
   plain JAX and by PyTorch, with matrix products in TF32 and then in float32. `rows.rows` explains
   the keys. The ratio of sampling-free to sampling stands beside that of SFVAE, Section 4.5.
3. The loop: the rate of `train` beside that of the bare step, on the networks of Table 3.

PREFIX.json and PREFIX.md (default: accelerator) are written after each of these and each model, so
that a run that is stopped keeps what it has. What would begin after the first seven minutes is left
out, and named. With --small everything is tiny, for a test on a CPU: its times mean nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import logging
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from benchmarks import loop
from benchmarks.command import run
from benchmarks.measuring import cases
from benchmarks.measuring.cases import OBJECTIVES, Case
from benchmarks.measuring.correctness import MOST_ERROR, errors
from benchmarks.measuring.machine import device_name
from benchmarks.measuring.peak import Peak, matmul_peak
from benchmarks.measuring.table import check_writable, duration, markdown, with_range, write_json
from benchmarks.rows import IMPLEMENTATIONS, installed, rows, say_what_is_missing
from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.markdown import lines_of
from sfvae_jax.runtime.memory import keep_freed_memory

PAPERS_RATIO = 14.5 / 9.7  # hours of a million steps, SFVAE Section 4.5
PRECISIONS = ("tensorfloat32", "float32")
LAST_BEGIN = 420.0  # seconds after the start

_SMALL_CONV = ("conv 16 x 16 x 3", {"name": "conv", "channels": (2, 2, 4)}, (16, 16, 3))
_SMALL_MLP = ("mlp 16-8", {"hidden_sizes": (8,)}, (4, 4, 1))


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        compared: cases of which the errors are computed.
        timed: cases of which the steps are timed, in both objectives.
        precisions: of the timed steps, in this order.
        budget: seconds of measuring for each case and precision.
        loop_seconds: about how long each turn of the loop runs.
        loop_rounds: number of these turns.
        steps_per_call: of the loop.
    """

    compared: tuple[Case, ...]
    timed: tuple[Case, ...]
    precisions: tuple[str, ...]
    budget: float
    loop_seconds: float
    loop_rounds: int
    steps_per_call: int


def _whole() -> Size:
    return Size(
        (cases.relu_mlp(200, 16), cases.conv(16, 1)),  # which a CPU computes within a minute
        (cases.relu_mlp(200, 200), cases.conv(64, 64)),
        PRECISIONS,
        budget=6.0,
        loop_seconds=2.0,
        loop_rounds=3,
        steps_per_call=500,
    )


def _small() -> Size:
    tiny = tuple(Case("sampling_free", *model, 2, 3) for model in (_SMALL_MLP, _SMALL_CONV))
    return Size(
        tiny, tiny, PRECISIONS[1:], budget=0.1, loop_seconds=0.01, loop_rounds=1, steps_per_call=5
    )


class Record:
    """What has been measured so far, as one JSON object and as Markdown."""

    def __init__(self, prefix: str, last_begin: float = LAST_BEGIN) -> None:
        """Checks that both files can be written.

        Args:
            prefix: of their names.
            last_begin: seconds after which no part is begun.

        Raises:
            UsageError: if one of them cannot.
        """
        self._prefix, self._begin, self._last_begin = prefix, time.monotonic(), last_begin
        for ending in ("json", "md"):
            check_writable(f"{prefix}.{ending}", "--output")
        self.content: dict[str, Any] = {
            "machine": _machine(),
            "correctness": [],
            "steps": [],
            "ratios": [],
            "loop": [],
            "left_out": [],
        }

    def measure(self, name: str, part: Callable[[], dict[str, list[Any]]]) -> None:
        """Adds what a part returns to the record, unless it is too late to begin."""
        if time.monotonic() - self._begin > self._last_begin:
            self.content["left_out"].append(name)
        else:
            print(f"{time.monotonic() - self._begin:4.0f} s: {name}", file=sys.stderr, flush=True)
            for key, found in part().items():
                self.content[key] += found
        self.content["seconds"] = time.monotonic() - self._begin
        self.write()

    def write(self) -> None:
        """Writes both files."""
        write_json(self.content, f"{self._prefix}.json")
        Path(f"{self._prefix}.md").write_text(as_markdown(self.content) + "\n", encoding="utf-8")


def _machine() -> dict[str, Any]:
    packages = ("jax", "jaxlib", "flax", "torch")
    found = {name: _version(name) for name in packages}
    return {
        "device": device_name(),
        "driver": _driver(),
        "versions": found,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    if jax.devices()[0].platform != "gpu" or shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip() or None


def _steps(case: Case, peak: Peak, budget: float) -> dict[str, list[Any]]:
    """Times a case by all implementations with both objectives; returns rows and their ratios."""
    both = [dataclasses.replace(case, objective=name) for name in OBJECTIVES]
    measured = rows(both, peak, budget=budget)
    seconds = {(r["implementation"], r["objective"]): r["step_seconds"] for r in measured}
    ratios = []
    for implementation in filter(installed, IMPLEMENTATIONS):
        free, sampling = (seconds[implementation, objective] for objective in OBJECTIVES)
        ratios.append(
            {
                "model": case.model,
                "latent_size": case.latent_size,
                "matmul_precision": peak.precision,
                "implementation": implementation,
                "sampling_free_by_sampling": free / sampling if free and sampling else None,
            }
        )
    return {"steps": measured, "ratios": ratios}


def _loop(objective: str, size: Size) -> dict[str, list[Any]]:
    config = loop.table_3(objective)
    config.train.steps_per_call = size.steps_per_call
    rates = loop.rates(config, size.loop_seconds, size.loop_rounds)
    bare, looped = (statistics.median(column) for column in zip(*rates, strict=True))
    ratios = [loop_rate / bare_rate for bare_rate, loop_rate in rates]
    row = {"objective": objective, "bare_steps_per_second": bare, "steps_per_second": looped}
    return {"loop": [{**row, "ratios": ratios}]}


def as_markdown(content: dict[str, Any]) -> str:
    """Formats a record."""
    machine = content["machine"]
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items() if found)
    driver = f", driver and power limit {machine['driver']}" if machine["driver"] else ""
    parts = [f"{machine['device']}{driver}; {versions}; {machine['at']}"]
    if content["correctness"]:
        heads = ("model", "m", "batch", "products", "tangents", "loss, error", "gradient, error")
        lines = [
            (
                *(row["model"], str(row["latent_size"]), str(row["batch_size"])),
                *(row["matmul_precision"], row["jacobian_dtype"]),
                f"{row['loss']:.3f}, {row['loss_error']:+.1e} nats",
                f"{row['gradient_error']:.1e}" + (" WRONG" if row["is_correct"] is False else ""),
            )
            for row in content["correctness"]
        ]
        parts += ["Against float64 on the CPU:", lines_of(heads, lines)]
    for precision in PRECISIONS:
        steps = [row for row in content["steps"] if row["matmul_precision"] == precision]
        if steps:
            parts += [f"Steps, products in {precision}:", markdown(steps)]
    if content["ratios"]:
        heads = ("model", "m", "products", "implementation", "sampling-free / sampling")
        keys = ("model", "latent_size", "matmul_precision", "implementation")
        lines = [
            (*(str(row[key]) for key in keys), _two_digits(row["sampling_free_by_sampling"]))
            for row in content["ratios"]
        ]
        told = f"SFVAE, Section 4.5, has a ratio of {PAPERS_RATIO:.2f}:"
        parts += [told, lines_of(heads, lines)]
    if content["loop"]:
        heads = ("objective", "bare step", "step of `train`", "rate of `train` / bare")
        lines = [
            (
                f"`{row['objective']}`",
                duration(1 / row["bare_steps_per_second"]),
                duration(1 / row["steps_per_second"]),
                with_range(row["ratios"]),
            )
            for row in content["loop"]
        ]
        parts += ["The loop:", lines_of(heads, lines)]
    if content["left_out"]:
        parts.append(f"Left out for lack of time: {'; '.join(content['left_out'])}.")
    return "\n\n".join(parts)


def _two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def measure(record: Record, size: Size) -> None:
    """Fills a record.

    Raises:
        RuntimeError: if the library's step is wrong in float32; the errors are in the record.
    """
    for case in size.compared:
        compare = lambda case=case: {"correctness": errors(case)}  # noqa: E731
        record.measure(f"errors of {case.model}", compare)
    wrong = [row["model"] for row in record.content["correctness"] if row["is_correct"] is False]
    if wrong:
        raise RuntimeError(
            f"the step in float32 is wrong for {', '.join(wrong)}: its gradient is off by more than"
            f" {MOST_ERROR:g} of its norm; nothing was timed"
        )
    peaks: dict[str, Peak] = {}
    for precision in size.precisions:
        for case in size.timed:

            def steps(case: Case = case, precision: str = precision) -> dict[str, list[Any]]:
                if precision not in peaks:
                    peaks[precision] = matmul_peak(precision)
                exact = dataclasses.replace(case, precision=precision)
                return _steps(exact, peaks[precision], size.budget)

            record.measure(f"steps of {case.model} in {precision}", steps)
        if precision == size.precisions[0]:
            for objective in OBJECTIVES:
                train = lambda name=objective: _loop(name, size)  # noqa: E731
                record.measure(f"the loop, {objective}", train)


def main() -> None:
    """Measures and prints.

    Raises:
        UsageError: if the files cannot be written, or there is no CPU for the reference.
        RuntimeError: as `measure` does.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", metavar="PREFIX", default="accelerator", help="of both files")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a test on a CPU")
    flags = parser.parse_args()
    logging.disable(logging.INFO)
    keep_freed_memory()
    record = Record(flags.output, math.inf if flags.small else LAST_BEGIN)
    measure(record, _small() if flags.small else _whole())
    print(as_markdown(record.content))
    say_what_is_missing()


if __name__ == "__main__":
    run(main, UsageError, RuntimeError)
