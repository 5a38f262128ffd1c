"""An exponential moving average of the parameters, which usually measures better than they do.

With theta_t the parameters after step t = 1, 2, ... and d = `train.ema_decay`,

    average_t = k_t average_{t-1} + (1 - k_t) theta_t,    k_t = min(d, t / (t + 9)),

and average_0 the initial parameters. Without the second term of the minimum, the initial parameters
would keep the weight d^t, which is 0.9 after 100 steps with d = 0.999. BatchNorm's running averages
and the singular vectors of normalised kernels belong to parameters, so the average has its own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives import spectral_normalize
from sfvae_jax.training.normalization.batch_norm import decay_at
from sfvae_jax.training.normalization.spectral import Vectors


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Average:
    """A model whose parameters are the moving average.

    Attributes:
        params: averages of the parameters; of the raw kernels, if they are normalised.
        vectors: singular vectors of these kernels, for their spectral normalisation.
        batch_stats: averages of BatchNorm's moments, with the same weights as the parameters.
    """

    params: Any
    vectors: Vectors
    batch_stats: Any


def start(params: Any, vectors: Vectors, batch_stats: Any) -> Average:
    """Returns the average before the first step: a copy of the model."""
    # Copies, because each call donates the buffers of the state.
    return Average(*jax.tree.map(jnp.copy, (params, vectors, batch_stats)))


def advance(average: Any, params: Any, batch_stats: Any, step: Array, decay: float) -> Any:
    """Returns the average after one more step.

    Args:
        average: an `Average`; anything else, for a run without one, is returned as it is.
        params: the parameters after the step.
        batch_stats: BatchNorm's running averages after the step.
        step: number of steps before this one.
        decay: `train.ema_decay`.
    """
    if not isinstance(average, Average):
        return average
    kept = decay_at(step, decay)
    # In this form a parameter that never changes is its own average, to the last bit.
    towards = lambda old, new: old + (1.0 - kept) * (new - old)  # noqa: E731
    params = jax.tree.map(towards, average.params, params)
    return Average(
        params,
        spectral_normalize(params, average.vectors)[1],
        jax.tree.map(towards, average.batch_stats, batch_stats),
    )
