"""Tangents that are computed for all examples of a batch together, before its objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.batch_tangents.relu_units import shares_units, tangents_of_batch
from sfvae_jax.objectives.numerics.decoders import KnownTangents
from sfvae_jax.objectives.spec import ObjectiveInfo, Options, fixed_variance


def known_tangents(
    info: ObjectiveInfo,
    options: Options,
    decode: Any,
    tangent_decode: Any,
    likelihood: Any,
    means: Callable[[], Array],
    batch_size: int,
) -> tuple[Array, Array] | None:
    """Returns the active units [B, H] and the tangents of each example, for `with_known`.

    It is None where each example computes its own: without layers of ReLU in the decoder, for a
    small batch, on an accelerator, and for objectives that need other tangents.

    Args:
        info: the objective.
        options: its options.
        decode: the decoder of all examples.
        tangent_decode: the decoder whose Jacobian is taken; None if it is `decode`.
        likelihood: p(x|z).
        means: returns the posteriors' means, [B, m].
        batch_size: B.
    """
    if not info.jacobian_at_mean or not info.forms_jacobian(options) or tangent_decode is not None:
        return None
    variance = fixed_variance(likelihood)
    if variance is None or jnp.ndim(variance) or not shares_units(decode, batch_size):
        return None
    return tangents_of_batch(decode, means())


def with_known(decode: Any, known: tuple[Array, Array] | None) -> Any:
    """Returns the decoder of an example with its own entries of what `known_tangents` returned."""
    return decode if known is None else KnownTangents(decode, *known)
