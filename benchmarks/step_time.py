"""Time, operations and memory of a step: the library's, the same in plain JAX, and in PyTorch.

  python -m benchmarks.step_time [--only=table4|table3|conv] [--json=FILE]
      [--keep_memory=all] [--precision=tensorfloat32]

A step is the value and the gradient of the loss of a batch. The objectives sampling_free and
sampling on three models: Table 4's networks at m = 200 with 200 images, Table 3's at m = 50 with
20, and the convolutional ones at m = 16 and 64 with 64. Prints a Markdown table; the file gets the
same as a list of rows, whose keys `rows.rows` explains. PyTorch's rows need the extra `bench`.

Each implementation has a process of its own, and they take turns. The library's keeps freed
memory, as its runs do on a CPU (`sfvae_jax.runtime.memory`); with --keep_memory=all the others
do as well.
--precision is that of products of float32 on a GPU, of all implementations alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import jax

from benchmarks.measuring.cases import GROUPS, PRECISIONS
from benchmarks.measuring.machine import device_name
from benchmarks.measuring.peak import Peak, matmul_peak
from benchmarks.measuring.table import check_writable, markdown, write_json
from benchmarks.rows import IMPLEMENTATIONS, installed, rows
from sfvae_jax.errors import UsageError
from sfvae_jax.runtime.memory import keep_freed_memory


def heading(peak: Peak) -> str:
    """What the table is of: device and its own limit."""
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
    parser.add_argument("--keep_memory", choices=("ours", "all"), default="ours")
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
    keeping = IMPLEMENTATIONS if flags.keep_memory == "all" else ("ours",)
    measured = []
    for case in cases:
        measured += rows([case], peak, keep_memory=keeping)
        if flags.json:  # whatever the next one ends with
            write_json(measured, flags.json)
    print(heading(peak) + "\n\n" + markdown(measured))
    if not installed("pytorch"):
        print("\nPyTorch is not installed, its rows are left out: pip install -e '.[bench]'")


if __name__ == "__main__":
    try:
        main()
    except (UsageError, RuntimeError) as error:
        sys.exit(f"error: {error}")
