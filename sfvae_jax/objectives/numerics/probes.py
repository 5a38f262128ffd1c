"""Random directions in place of all m tangents of a decoder."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array

from sfvae_jax.objectives.numerics.checks import ArgumentError


def check_probes(num_probes: int, rng: Any) -> None:
    """Checks that a number of probes is not negative, and that there is a key to draw them from.

    Raises:
        ArgumentError: if one of them does not hold.
    """
    if num_probes < 0:
        raise ArgumentError(f"num_probes must not be negative, got {num_probes}")
    if num_probes and not hasattr(rng, "dtype"):
        raise ArgumentError(
            f"num_probes={num_probes} requires rng, a key such as jax.random.key(0); got {rng!r}"
        )


def probe_signs(rng: Array, num_probes: int, size: int) -> Array:
    """Random signs u_k uniform on {-1, 1}^m, [num_probes, m], so that E u_k u_k' = I.

    For a symmetric A the estimate u'A u of tr A then has the variance 4 sum_{i<j} A_ij^2, whereas
    noise u ~ N(0, I) adds 2 sum_i A_ii^2 to it. It is exact for a diagonal A, and for m = 1.
    """
    return jax.random.rademacher(rng, (num_probes, size), "float32")
