"""Rows as a Markdown table and as a file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.markdown import lines_of

_HEADS = (
    "objective",
    "model",
    "m",
    "batch",
    "implementation",
    "step",
    "ratio",
    "GFLOP",
    "share of peak",
    "peak memory",
    "compilation",
    "note",
)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Formats the rows of `rows.rows` as a table."""
    return lines_of(_HEADS, list(map(_cells, rows)))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"`{row['objective']}`",
        row["model"],
        str(row["latent_size"]),
        str(row["batch_size"]),
        row["implementation"],
        duration(row["step_seconds"]),
        _ratio(row),
        "-" if row["flops"] is None else f"{row['flops'] / 1e9:.3g}",
        _number(row["share_of_peak"], "{:.1%}"),
        _size(row["peak_bytes"]),
        duration(row["compile_seconds"]),
        row["note"],
    )


def _ratio(row: dict[str, Any]) -> str:
    """The ratio to the first implementation, with its range over turns in the other rows."""
    if row["ratio"] is None or row["ratio_range"][0] == row["ratio_range"][1]:
        return _number(row["ratio"], "{:.2f}")
    return "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"])


def with_range(ratios: Sequence[float]) -> str:
    """Formats the ratios of turns: the median, and the lowest and highest."""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def check_writable(path: str, flag: str = "--json") -> None:
    """Checks that the file of a flag can be written, before minutes of measuring.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        Path(path).touch()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another {flag}") from error


def write_json(value: Any, path: str) -> None:
    """Writes a value as JSON."""
    Path(path).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else style.format(value)


def duration(seconds: float | None) -> str:
    """Formats seconds with three digits; "-" for None."""
    if seconds is None:
        return "-"
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def _size(count: int) -> str:
    return f"{count / 2**20:.4g} MiB" if count < 2**30 else f"{count / 2**30:.3g} GiB"
