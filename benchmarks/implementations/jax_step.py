"""A step in JAX, compiled ahead of time, with what the compiler says about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from benchmarks.implementations.prepared import Prepared
from benchmarks.measuring.flops import DATA_DECIDE, count_flops
from benchmarks.measuring.machine import available_bytes


def prepare(step: Callable[..., Any], *arguments: Any) -> Prepared:
    """Compiles a step for its arguments.

    `peak_bytes` is the compiler's plan: temporary buffers, results and arguments.
    `compile_seconds` covers tracing, lowering and compiling with empty caches.
    """
    with _nothing_cached():
        start = time.perf_counter()
        compiled = jax.jit(step).lower(*arguments).compile()
        compile_seconds = time.perf_counter() - start
    flops = count_flops(step, *arguments)
    planned = planned_bytes(compiled)
    available = available_bytes()
    fits = available is None or planned <= available
    notes = sorted(flops.notes)
    if not fits:
        notes.append(f"not run: needs {planned / 2**30:.1f} GiB of {available / 2**30:.1f} GiB")
    return Prepared(
        call=lambda: jax.block_until_ready(compiled(*arguments)),
        flops=None if DATA_DECIDE in flops.notes else flops.value,
        peak_bytes=planned,
        compile_seconds=compile_seconds,
        note="; ".join(notes),
        runs=fits,
    )


def planned_bytes(compiled: Any) -> int:
    """Returns the bytes of a compiled program: temporary buffers, results and arguments."""
    plan = compiled.memory_analysis()
    return (
        plan.temp_size_in_bytes
        + plan.output_size_in_bytes
        + plan.argument_size_in_bytes
        - plan.alias_size_in_bytes
    )


@contextmanager
def _nothing_cached() -> Iterator[None]:
    jax.clear_caches()
    enabled = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # which remembers whether it is in use
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()
