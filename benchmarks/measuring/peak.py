"""The limit of the machine: the rate of large float32 matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.measuring.timing import fastest

_SIZES = {"cpu": (2048, 3072, 4096)}
_SIZES_OF_ACCELERATORS = (4096, 8192, 16384)


class Peak(NamedTuple):
    """How fast float32 matrices are multiplied.

    Attributes:
        flops_per_second: the rate at the best size.
        precision: of the products, "float32" or fewer bits.
    """

    flops_per_second: float
    precision: str


def matmul_peak(precision: str = "float32") -> Peak:
    """Measures the rate of the first device; on a CPU always in float32."""
    platform = jax.devices()[0].platform
    precision = "float32" if platform == "cpu" else precision
    return Peak(_best_rate(platform, precision), precision)


def _best_rate(platform: str, precision: str) -> float:
    sizes = _SIZES.get(platform, _SIZES_OF_ACCELERATORS)
    calls = {str(size): _product(size, precision) for size in sizes}
    seconds = fastest(calls, rounds=4)
    return max(2.0 * int(size) ** 3 / elapsed for size, elapsed in seconds.items())


def _product(size: int, precision: str) -> Callable[[], Any]:
    a, b = jax.random.normal(jax.random.key(0), (2, size, size))
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    return lambda: product(a, b).block_until_ready()
