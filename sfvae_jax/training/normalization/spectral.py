"""Spectral normalisation: divides a decoder's kernels by their largest singular values (RAE-SN).

The train step updates the raw kernels. The objective and the evaluations see the normalised kernels
that `objectives.spectral_normalize` returns. The estimates of the singular vectors are part of the
train state.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import traverse_util
from jax import Array

from sfvae_jax.objectives import spectral_normalize

Vectors = dict[str, Array]

_FIRST_ITERATIONS = 20  # from random vectors; each step continues with the previous step's vectors


def start_vectors(rng: Array, params: Any) -> Vectors:
    """Estimates the first right singular vector of each decoder kernel, by the kernel's path."""
    kernels = _kernels(params)
    keys = jax.random.split(rng, len(kernels))
    random = {
        path: jax.random.normal(key, kernel.shape[-1:], kernel.dtype)
        for key, (path, kernel) in zip(keys, kernels.items(), strict=True)
    }
    return spectral_normalize(params, random, num_iterations=_FIRST_ITERATIONS)[1]


def _kernels(params: Any) -> dict[str, Array]:
    flat = traverse_util.flatten_dict(params, sep="/")
    return {
        path: leaf
        for path, leaf in flat.items()
        if path.startswith("params/decoder/") and path.endswith("/kernel")
    }
