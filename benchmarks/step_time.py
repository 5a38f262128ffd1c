"""Time, operations and memory of a step: the library's, the same in plain JAX, and in PyTorch.

  python -m benchmarks.step_time [--only=table4|table3|conv] [--json=FILE]

A step is the value and the gradient of the loss of a batch. The objectives sampling_free and
sampling on three models: Table 4's networks at m = 200 with 200 images, Table 3's at m = 50 with
20, and the convolutional ones at m = 16 and 64 with 64. Prints a Markdown table; the file gets the
same as a list of rows, whose keys `rows.rows` explains. PyTorch's rows need the extra `bench`.
"""

from __future__ import annotations

import argparse
import sys

import jax

from benchmarks.cases import GROUPS
from benchmarks.machine import device_name
from benchmarks.peak import Peak, matmul_peak
from benchmarks.rows import installed, rows
from benchmarks.table import check_writable, markdown, write_json
from sfvae_jax.errors import UsageError


def heading(peak: Peak) -> str:
    """What the table is of: device and its own limit."""
    rate = f"{peak.flops_per_second / 1e9:,.0f} GFLOP/s, {peak.precision}"
    full = f"{peak.float32_flops_per_second / 1e9:,.0f} GFLOP/s"
    exact = "" if peak.precision == "float32" else f"; in float32 {full}"
    return f"{device_name()}, jax {jax.__version__}, matrix products: {rate}{exact}"


def main() -> None:
    """Measures and prints.

    Raises:
        UsageError: if the file cannot be written.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=GROUPS, help="one group of models")
    parser.add_argument("--json", metavar="FILE", help="where to write the rows")
    flags = parser.parse_args()
    if flags.json:
        check_writable(flags.json)
    peak = matmul_peak()
    groups = [flags.only] if flags.only else list(GROUPS)
    measured = rows([case for group in groups for case in GROUPS[group]], peak)
    print(heading(peak) + "\n\n" + markdown(measured))
    if not installed("pytorch"):
        print("\nPyTorch is not installed, its rows are left out: pip install -e '.[bench]'")
    if flags.json:
        write_json(measured, flags.json)


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(f"error: {error}")
