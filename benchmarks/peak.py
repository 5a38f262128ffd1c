"""The machine's own limit: the rate of large float32 matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.timing import fastest

_SIZES = {"cpu": (2048, 3072, 4096)}
_SIZES_OF_ACCELERATORS = (4096, 8192, 16384)


class Peak(NamedTuple):
    """How fast float32 matrices are multiplied.

    Attributes:
        flops_per_second: of the best size, as JAX multiplies when nothing else is asked for.
        precision: how that is: "float32", or on an accelerator the fewer bits that it may take.
        float32_flops_per_second: of the best size in full precision.
    """

    flops_per_second: float
    precision: str
    float32_flops_per_second: float


def matmul_peak() -> Peak:
    """Measures the rate of the first device."""
    device = jax.devices()[0]
    full = _best_rate(device.platform, "highest")
    asked = jax.config.jax_default_matmul_precision
    if device.platform == "cpu":  # which multiplies in float32, whatever is asked for
        return Peak(full, "float32", full)
    setting = str(asked) if asked else "default (TF32 on NVIDIA, bfloat16 on a TPU)"
    return Peak(_best_rate(device.platform, asked), setting, full)


def _best_rate(platform: str, precision: str | None) -> float:
    sizes = _SIZES.get(platform, _SIZES_OF_ACCELERATORS)
    calls = {str(size): _product(size, precision) for size in sizes}
    seconds = fastest(calls, rounds=4)
    return max(2.0 * int(size) ** 3 / elapsed for size, elapsed in seconds.items())


def _product(size: int, precision: str | None) -> Callable[[], Any]:
    a, b = jax.random.normal(jax.random.key(0), (2, size, size))
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    return lambda: product(a, b).block_until_ready()
