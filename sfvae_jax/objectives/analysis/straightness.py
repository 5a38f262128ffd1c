"""Where a decoder is straight: its bend along the axes of the latent space.

f is the decoder, J its Jacobian at the posterior mean mu, s_i a posterior deviation and c the
observation variance; |v|^2 is sum_j v_j^2 / c_j, so that half of it is in nats. The bend of a step
t along axis i is b_i(t) = f(mu + t e_i) - f(mu) - t J e_i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import check_at_least_one, check_positive
from sfvae_jax.objectives.numerics.gaussian import latent_gaussian
from sfvae_jax.objectives.numerics.precision import wide
from sfvae_jax.objectives.sampling_free import decoder_jacobian, scalar_or_per_element


class AxisBend(NamedTuple):
    """How far a decoder bends along each axis of the latent space, [m] each.

    Attributes:
        tangent: 1/2 s_i^2 |J e_i|^2, in nats: what a latent costs a linearised objective.
        bend: 1/4 (|b_i(s_i)|^2 + |b_i(-s_i)|^2), in nats.
        radius: the least t > 0 at which |b_i(t)|^2 or |b_i(-t)|^2 exceeds `share` of
            t^2 |J e_i|^2, in the units of the latent; at most `reach` s_i.
    """

    tangent: Array
    bend: Array
    radius: Array


def axis_bend(
    decode: Callable[[Array], Array],
    mean: Array,
    stddev: Array | float,
    *,
    observation_variance: Array | float,
    share: float = 0.1,
    reach: float = 8.0,
    num_steps: int = 32,
    num_bisections: int = 12,
) -> AxisBend:
    """The bend of a decoder along each axis, and the straight radius around the posterior mean.

    A decoder f(z) = A z + 1/2 sum_i z_i^2 h_i has the bend b_i(t) = t^2 h_i / 2 at every mu, so
    that its straight radius is 2 sqrt(share) |J e_i| / |h_i|. In general there is no closed form,
    and the second derivative at mu, which is 0 almost everywhere for a network of ReLUs, does not
    see what lies ahead. So |b_i|^2 is compared with share t^2 |J e_i|^2 at `num_steps` evenly
    spaced steps up to `reach` s_i, and the first interval at whose end it is larger is bisected. A
    bend that begins and ends between two of these steps is missed.

    If 1/c is `likelihood.fisher` and `decode` returns the likelihood's location, this is the same
    for other likelihoods, to second order.

    It takes 1 + m (3 + 2 num_steps + 2 num_bisections) decoder passes and m tangent passes.

    Args:
        decode: maps one latent [m] to a mean of any shape with n elements.
        mean: posterior mean mu, [m]; not a posterior, because a step along an axis only has the
            deviation of that latent. Give `q.mean` and `q.stddev` of a `DiagonalGaussian`, and of a
            covariance L L' the roots of its diagonal, the norms of the rows of L.
        stddev: posterior standard deviations s, positive, a scalar or [m].
        observation_variance: c, positive; a scalar or one per element, shaped like the mean or [n].
        share: share of the tangent's squared norm, positive.
        reach: how far the search goes, in posterior deviations, positive.
        num_steps: steps of the search, at least 1.
        num_bisections: halvings of the interval, which is reach s_i / num_steps wide at first.

    Returns:
        An `AxisBend` of arrays [m].

    Raises:
        ArgumentError: if the shapes do not fit, or a number that must be positive is known not to
            be.
    """
    for name, value in (("share", share), ("reach", reach)):
        check_positive(name, value)
    check_at_least_one("num_steps", num_steps)
    mean, stddev, _ = latent_gaussian(mean, stddev)
    center, jacobian = decoder_jacobian(decode, mean)
    variance = jnp.atleast_1d(scalar_or_per_element(observation_variance, center))[None, :]
    rows, axes = wide(jacobian).T, jnp.arange(mean.size)

    def decoded(values: Array) -> Array:
        """The decoder's means [m, n] where one latent after another has its own of the values."""
        return jax.vmap(lambda i, value: wide(decode(mean.at[i].set(value))).ravel())(axes, values)

    centers = decoded(mean)  # f(mu), rounded as what it is compared with

    def squares(steps: Array) -> tuple[Array, Array]:
        """|b_i(t_i)|^2 and t_i^2 |J e_i|^2 for a step [m] along each axis."""
        moved = mean + steps
        steps = moved - mean  # as rounded in the sum, so that a straight line has no bend

        tangents = steps[:, None] * rows
        bends = decoded(moved) - centers - tangents
        return (
            jnp.sum(jnp.square(bends) / variance, axis=1),
            jnp.sum(jnp.square(tangents) / variance, axis=1),
        )

    def both_ways(steps: Array) -> tuple[Array, Array]:
        """The squares [2, m] of steps [m] forwards and backwards."""
        return jax.lax.map(squares, jnp.stack([steps, -steps]))

    ends = jnp.arange(1, num_steps + 1) * (reach / num_steps)
    bends, tangents = jax.lax.map(
        lambda end: both_ways(end * stddev), jnp.concatenate([jnp.ones(1), ends])
    )  # [1 + num_steps, 2, m]
    is_bent = jnp.any(bends[1:] > share * tangents[1:], axis=1)  # [num_steps, m]
    high = ends[jnp.argmax(is_bent, axis=0)]  # argmax is 0 where none is bent

    def halved(_: int, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = 0.5 * (low + high)
        bends, tangents = both_ways(middle * stddev)
        is_beyond = jnp.any(bends > share * tangents, axis=0)
        return jnp.where(is_beyond, low, middle), jnp.where(is_beyond, middle, high)

    interval = (high - reach / num_steps, high)
    low, high = jax.lax.fori_loop(0, num_bisections, halved, interval)
    radius = jnp.where(jnp.any(is_bent, axis=0), 0.5 * (low + high), reach)
    return AxisBend(
        tangent=0.5 * jnp.mean(tangents[0], axis=0),
        bend=0.5 * jnp.mean(bends[0], axis=0),
        radius=radius * stddev,
    )
