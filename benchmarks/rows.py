"""Measures each implementation of each case, one row for each."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import jax

from benchmarks.implementations import jax_step, ours, plain
from benchmarks.implementations.prepared import Prepared
from benchmarks.measuring.cases import Case
from benchmarks.measuring.machine import device_name
from benchmarks.measuring.peak import Peak
from benchmarks.measuring.timing import in_turns
from benchmarks.worker import in_own_process

IMPLEMENTATIONS = ("ours", "plain", "pytorch")
# Also products of rows, which are faster there, and PyTorch's compiler, which needs no GPU's.
ON_A_CPU = ("ours", "plain", "plain_rows", "pytorch", "pytorch_compiled")

BUDGET = 40.0  # seconds of measuring for each case


def installed(implementation: str) -> bool:
    """Returns whether the packages that an implementation needs are installed."""
    if not implementation.startswith("pytorch"):
        return True
    if importlib.util.find_spec("torch") is None:
        return False
    return implementation == "pytorch" or shutil.which("g++") is not None


def say_what_is_missing() -> None:
    """Prints why a table has no rows of PyTorch, or of its compiler, if they are not installed."""
    if not installed("pytorch"):
        print("\nPyTorch is not installed, so its rows are left out: pip install -e '.[bench]'")
    elif not installed("pytorch_compiled"):
        print("\ntorch.compile needs g++, which is not installed, so its rows are left out")


def rows(
    cases: Sequence[Case],
    peak: Peak,
    implementations: Sequence[str] = IMPLEMENTATIONS,
    budget: float = BUDGET,
    keep_memory: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Measures each case with each installed implementation; returns a row for each pair.

    Keys of a row: objective, model, latent_size, batch_size, implementation; step_seconds (median),
    spread_seconds (fastest, slowest), steps_timed; ratio (to the step of the first implementation)
    and ratio_range (lowest, highest of the turns that both took); flops, each implementation's own,
    None if the data decide; share_of_peak (flops per second, divided by
    `matmul_flops_per_second`), which says how busy the machine was, not how usefully; peak_bytes;
    compile_seconds; matmul_flops_per_second and matmul_precision, of the machine's matrix products;
    keeps_memory (None if all are in one process); device, note. What was not measured is None, and
    the note says why.

    Args:
        cases: what is measured.
        peak: the limit of the machine.
        implementations: some of `ON_A_CPU`; they take turns.
        budget: seconds of measuring for each case; slow steps may exceed it.
        keep_memory: the implementations that keep freed memory, where each has a process of its
            own; None to run all of them in this process.
    """
    found = [name for name in implementations if installed(name)]
    measured = []
    for case in cases:
        print(
            f"{case.objective}, {case.model}, m = {case.latent_size}", file=sys.stderr, flush=True
        )
        with ExitStack() as stack:
            steps = {name: _prepare(stack, name, case, keep_memory) for name in found}
            measured += _rows_of(case, peak, steps, budget, keep_memory)
    return measured


def _prepare(
    stack: ExitStack, implementation: str, case: Case, keep_memory: Sequence[str] | None
) -> Prepared:
    prepare = _PREPARE[implementation]
    if keep_memory is None:
        return prepare(case)
    return stack.enter_context(in_own_process(prepare, case, implementation in keep_memory))


def _rows_of(
    case: Case,
    peak: Peak,
    prepared: Mapping[str, Prepared],
    budget: float,
    keep_memory: Sequence[str] | None,
) -> list[dict[str, Any]]:
    calls = {name: step.seconds for name, step in prepared.items() if step.runs}
    turns = in_turns(calls, budget)
    base = turns.get(next(iter(prepared)))
    keeps = {name: None if keep_memory is None else name in keep_memory for name in prepared}
    return [
        _row(case, peak, name, step, turns.get(name), base, keeps[name])
        for name, step in prepared.items()
    ]


def _row(
    case: Case,
    peak: Peak,
    implementation: str,
    step: Prepared,
    turns: list[list[float]] | None,
    base: list[list[float]] | None,
    keeps_memory: bool | None,
) -> dict[str, Any]:
    measured = list(itertools.chain(*turns or ()))
    seconds = statistics.median(measured) if measured else None
    ratio, ratio_range = _ratio(turns, base) if turns and base else (None, None)
    return {
        "objective": case.objective,
        "model": case.model,
        "latent_size": case.latent_size,
        "batch_size": case.batch_size,
        "implementation": implementation,
        "step_seconds": seconds,
        "spread_seconds": [min(measured), max(measured)] if measured else None,
        "steps_timed": len(measured),
        "ratio": ratio,
        "ratio_range": ratio_range,
        "flops": step.flops,
        "share_of_peak": _share(step.flops, seconds, peak),
        "peak_bytes": step.peak_bytes,
        "compile_seconds": step.compile_seconds,
        "matmul_flops_per_second": peak.flops_per_second,
        "matmul_precision": peak.precision,
        "keeps_memory": keeps_memory,
        "device": device_name(),
        "note": step.note,
    }


def _ratio(turns: list[list[float]], base: list[list[float]]) -> tuple[float, list[float]]:
    """Returns the ratio of the medians of all calls, and the range over turns of their ratios."""
    ratio = statistics.median(itertools.chain(*turns)) / statistics.median(itertools.chain(*base))
    pairs = zip(turns, base, strict=False)  # slow implementations take fewer turns
    ratios = [statistics.median(turn) / statistics.median(other) for turn, other in pairs]
    return ratio, [min(ratios), max(ratios)]


def _share(flops: int | None, seconds: float | None, peak: Peak) -> float | None:
    if flops is None or not seconds:
        return None
    return flops / seconds / peak.flops_per_second


def _ours(case: Case) -> Prepared:
    step = ours.value_and_grad(case.config(), case.data_shape)
    return jax_step.prepare(step, case.params(), jax.random.key(2), case.batch())


def _plain(case: Case) -> Prepared:
    step = plain.value_and_grad(case.config(), case.data_shape)
    return jax_step.prepare(step, case.params(), jax.random.key(2), case.batch())


def _plain_rows(case: Case) -> Prepared:
    step = plain.value_and_grad(case.config(), case.data_shape, "patches")
    return jax_step.prepare(step, case.params(), jax.random.key(2), case.batch())


def _pytorch(case: Case) -> Prepared:
    from benchmarks.implementations import torch_step  # PyTorch may not be installed

    return torch_step.prepare(case.config(), case.batch(), case.params())


def _pytorch_compiled(case: Case) -> Prepared:
    from benchmarks.implementations import torch_step

    return torch_step.prepare(case.config(), case.batch(), case.params(), compiled=True)


_PREPARE = {
    "ours": _ours,
    "plain": _plain,
    "plain_rows": _plain_rows,
    "pytorch": _pytorch,
    "pytorch_compiled": _pytorch_compiled,
}
