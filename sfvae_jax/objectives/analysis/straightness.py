"""Where a decoder is straight: its bend along the axes of the latent space.

f is the decoder, J its Jacobian at the posterior mean mu and s_i a posterior deviation. |v|^2 is
v'F v with the likelihood's information F at f(mu), for a Gaussian sum_j v_j^2 / c_j, so that half
of it is in nats. The bend of a step t along axis i is b_i(t) = f(mu + t e_i) - f(mu) - t J e_i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_at_least_one,
    check_count,
    check_number,
    check_positive,
)
from sfvae_jax.objectives.numerics.gaussian import latent_gaussian
from sfvae_jax.objectives.numerics.precision import wide
from sfvae_jax.objectives.sampling_free import scalar_or_per_element

# (theta = f(mu), a direction shaped like it) -> the direction's squared length, twice its nats
Information = Callable[[Any, Any], Array]


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
    decode: Callable[[Array], Any],
    mean: Array,
    stddev: Array | float,
    *,
    observation_variance: Array | float | None = None,
    information: Information | None = None,
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

    For a Gaussian give `observation_variance`, for any other likelihood `information`, such as
    `lambda parameters, direction: likelihood.information(x, parameters, direction)`. Lengths are
    then those of the likelihood's parameters: a decoder whose logits are linear has no bend.

    It takes 1 + m (3 + 2 num_steps + 2 num_bisections) decoder passes and m tangent passes.

    Args:
        decode: maps one latent [m] to the likelihood's parameters: for a Gaussian to a mean of any
            shape with n elements, else to a pytree.
        mean: posterior mean mu, [m]; not a posterior, because a step along an axis only has the
            deviation of that latent. Give `q.mean` and `q.stddev` of a `DiagonalGaussian`, and of a
            covariance L L' the roots of its diagonal, the norms of the rows of L.
        stddev: posterior standard deviations s, positive, a scalar or [m].
        observation_variance: c, positive; a scalar or one per element, shaped like the mean or [n].
        information: gives |v|^2, a scalar, from f(mu) and a direction v of the parameters, in place
            of `observation_variance`.
        share: share of the tangent's squared norm, positive.
        reach: how far the search goes, in posterior deviations, positive and finite.
        num_steps: steps of the search, at least 1.
        num_bisections: halvings of the interval, which is reach s_i / num_steps wide at first; 0
            for none.

    Returns:
        An `AxisBend` of arrays [m].

    Raises:
        ArgumentError: if the shapes do not fit, a number that must be positive is known not to be,
            the decoder returns no array where `observation_variance` is given, or not exactly one
            of it and `information` is given.
    """
    for name, value in (("share", share), ("reach", reach)):
        check_number(name, value)
        check_positive(name, value)
    check_at_least_one("num_steps", num_steps)
    check_count("num_bisections", num_bisections)
    mean, stddev, _ = latent_gaussian(mean, stddev)
    basis, axes = jnp.eye(mean.size, dtype=mean.dtype), jnp.arange(mean.size)
    center, rows = jax.vmap(lambda e: jax.jvp(decode, (mean,), (e,)), out_axes=(None, 0))(basis)
    rows = wide(rows)
    length_of = _length_of(observation_variance, information, center)

    def decoded(values: Array) -> Any:
        """The decoder's outputs, with a leading axis [m]: each latent in turn has its value."""
        return jax.vmap(lambda i, value: wide(decode(mean.at[i].set(value))))(axes, values)

    def lengths(directions: Any) -> Array:
        return jax.vmap(lambda direction: length_of(center, direction))(directions)

    centers = decoded(mean)  # f(mu), rounded as what it is compared with

    def squares(steps: Array) -> tuple[Array, Array]:
        """|b_i(t_i)|^2 and t_i^2 |J e_i|^2 for a step [m] along each axis."""
        moved = mean + steps
        steps = moved - mean  # as rounded in the sum, so that a straight line has no bend

        tangents = jax.vmap(lambda step, row: jax.tree.map(lambda r: step * r, row))(steps, rows)
        bends = jax.tree.map(lambda f, at, t: f - at - t, decoded(moved), centers, tangents)
        return lengths(bends), lengths(tangents)

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


def _length_of(
    variance: Array | float | None, information: Information | None, center: Any
) -> Information:
    """Returns the squared length |v|^2 of directions v at the decoder's output f(mu)."""
    if (variance is None) == (information is None):
        raise ArgumentError(
            "give observation_variance for a Gaussian, or information for another likelihood, and"
            " not both"
        )
    if information is not None:
        return information
    assert variance is not None
    if not hasattr(center, "size"):
        raise ArgumentError(
            "observation_variance requires a decoder that returns an array, got a"
            f" {type(center).__name__}; give information instead"
        )
    per_element = jnp.atleast_1d(scalar_or_per_element(variance, center))
    return lambda _, direction: jnp.sum(jnp.square(direction.ravel()) / per_element)
