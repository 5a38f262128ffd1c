"""How the sampling-free step grows with the latent size and with the batch.

  python -m benchmarks.growth [--json=FILE]

Measures the library's step and the same step in plain JAX (where memory allows it), on the networks
of SFVAE Table 4 and on convolutional ones. The exponent p of step = a m^p, or a B^p, is fitted by
least squares to the logarithms, for m between 8 and 64. FILE gets {"rows": ..., "exponents": ...};
`rows.rows` explains the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.command import run
from benchmarks.measuring import cases
from benchmarks.measuring.peak import matmul_peak
from benchmarks.measuring.table import check_writable, markdown, write_json
from benchmarks.rows import rows
from benchmarks.step_time import heading
from sfvae_jax.errors import UsageError
from sfvae_jax.runtime.memory import keep_freed_memory

FITTED_LATENT_SIZES = (8, 64)  # the smallest and the largest m that is fitted
IMPLEMENTATIONS = ("ours", "plain")

SWEEPS = {
    "latent_size": [
        *(cases.relu_mlp(m, 64) for m in (8, 16, 32, 64, 128, 256)),
        *(cases.conv(m, 16) for m in (8, 16, 32, 64)),
    ],
    "batch_size": [
        *(cases.relu_mlp(64, batch) for batch in (16, 32, 64, 128, 256)),
        *(cases.conv(16, batch) for batch in (8, 16, 32, 64)),
    ],
}

BUDGET = 6.0  # seconds of measuring at each size


def exponents(measured: Sequence[dict[str, Any]], axis: str) -> list[dict[str, Any]]:
    """Fits the exponent of each model and implementation: seconds grow as axis^exponent.

    Args:
        measured: rows that differ in one size.
        axis: its key, "latent_size" or "batch_size".

    Returns:
        Dictionaries of model, implementation, axis, exponent (None with fewer than two sizes) and
        sizes, the fitted ones.
    """
    low, high = FITTED_LATENT_SIZES if axis == "latent_size" else (0, np.inf)
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in measured:
        series = points.setdefault((row["model"], row["implementation"]), [])
        if row["step_seconds"] is not None and low <= row[axis] <= high:
            series.append((row[axis], row["step_seconds"]))
    return [
        {
            "model": model,
            "implementation": implementation,
            "axis": axis,
            "exponent": _slope(series) if len(series) > 1 else None,
            "sizes": [size for size, _ in series],
        }
        for (model, implementation), series in points.items()
    ]


def _slope(series: Sequence[tuple[int, float]]) -> float:
    sizes, seconds = np.log(np.array(series)).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def _sentence(fit: dict[str, Any]) -> str:
    if fit["exponent"] is None:
        return f"{fit['model']}, {fit['implementation']}: too few sizes"
    letter = "m" if fit["axis"] == "latent_size" else "B"
    sizes = f"{letter} = {', '.join(map(str, fit['sizes']))}"
    return f"{fit['model']}, {fit['implementation']}: {letter}^{fit['exponent']:.2f} over {sizes}"


def main() -> None:
    """Measures and prints.

    Raises:
        UsageError: if the file cannot be written.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="where to write rows and exponents")
    flags = parser.parse_args()
    if flags.json:
        check_writable(flags.json)
    keep_freed_memory()
    peak = matmul_peak()
    print(heading(peak))
    results: dict[str, list[dict[str, Any]]] = {"rows": [], "exponents": []}
    for axis, sweep in SWEEPS.items():
        measured = rows(sweep, peak, IMPLEMENTATIONS, BUDGET)
        fits = exponents(measured, axis)
        results["rows"] += measured
        results["exponents"] += fits
        print("\n" + markdown(measured) + "\n")
        print("\n".join(map(_sentence, fits)), flush=True)
    if flags.json:
        write_json(results, flags.json)


if __name__ == "__main__":
    run(main, UsageError)
