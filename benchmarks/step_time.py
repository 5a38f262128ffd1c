"""Time, operations and memory of a step of the library, of plain JAX and of PyTorch.

  python -m benchmarks.step_time [--only=table4|table3|conv] [--json=FILE]
      [--keep_memory=ours] [--precision=tensorfloat32]

A step is the value and the gradient of the loss of a batch, for the objectives sampling_free and
sampling on three models: the networks of SFVAE Table 4 with m = 200 and 200 images, those of Table
3 with m = 50 and 20, and convolutional ones with m = 16 and 64 and 64 images. Prints a Markdown
table; FILE gets the same as a list of rows, whose keys `rows.rows` explains. PyTorch needs the
extra `bench`.

Each implementation has a process of its own on the same cores, and they take turns. All keep freed
memory, as the library's runs do on a CPU (`sfvae_jax.runtime.memory`); with --keep_memory=ours only
the library's process does. The ratios have their range over the turns. --precision applies
to float32 products on a GPU, in all implementations.
"""

from __future__ import annotations

import argparse
import dataclasses

import jax

from benchmarks.command import run
from benchmarks.measuring.cases import GROUPS, PRECISIONS
from benchmarks.measuring.machine import device_name
from benchmarks.measuring.peak import Peak, matmul_peak
from benchmarks.measuring.table import check_writable, markdown, write_json
from benchmarks.rows import IMPLEMENTATIONS, ON_A_CPU, rows, say_what_is_missing
from sfvae_jax.errors import UsageError
from sfvae_jax.runtime.memory import keep_freed_memory


def heading(peak: Peak) -> str:
    """Returns the heading of the table: the device and its limit."""
    rate = f"{peak.flops_per_second / 1e9:,.0f} GFLOP/s, {peak.precision}"
    return f"{device_name()}, jax {jax.__version__}, matrix products: {rate}"


def main() -> None:
    """Measures and prints.

    Raises:
        UsageError: if the file cannot be written.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=GROUPS, help="one group of models")
    parser.add_argument("--json", metavar="FILE", help="where to write the rows")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--keep_memory", choices=("all", "ours"), default="all")
    flags = parser.parse_args()
    if flags.json:
        check_writable(flags.json)
    keep_freed_memory()
    peak = matmul_peak(flags.precision)
    groups = [flags.only] if flags.only else list(GROUPS)
    cases = [
        dataclasses.replace(case, precision=flags.precision)
        for group in groups
        for case in GROUPS[group]
    ]
    taking_turns = ON_A_CPU if jax.default_backend() == "cpu" else IMPLEMENTATIONS
    keeping = taking_turns if flags.keep_memory == "all" else ("ours",)
    measured = []
    for case in cases:
        measured += rows([case], peak, taking_turns, keep_memory=keeping)
        if flags.json:  # so that a later failure loses nothing
            write_json(measured, flags.json)
    print(heading(peak) + "\n\n" + markdown(measured))
    say_what_is_missing()


if __name__ == "__main__":
    run(main, UsageError, RuntimeError)
