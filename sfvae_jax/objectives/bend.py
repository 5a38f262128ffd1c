"""The bend of a decoder: what its tangent leaves out, and a penalty on it.

An objective that replaces the decoder f by its tangent at the posterior mean mu trusts it wherever
the posterior has its mass. The bend along a step v,

    b(v) = f(mu + v) - f(mu) - J v,

is what it leaves out. docs/linearised.md has the derivations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.numerics.checks import (
    check_at_least_one,
    check_has,
    check_key,
    check_shape,
    check_vector,
    is_off,
)
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide
from sfvae_jax.objectives.numerics.streams import ExampleStream, stream_key
from sfvae_jax.objectives.spec import Example, GaussianPosterior, InformationLikelihood


def decoder_bend(decode: Callable[[Array], Any], z: Array, step: Array) -> tuple[Any, Any, Any]:
    """Value, tangent and bend of a decoder along one step from a latent.

        tangent = J v,   bend = f(z + v) - f(z) - J v

    A decoder f(z) = A z + 1/2 sum_ij z_i z_j h_ij, with h_ij = h_ji, has the bend
    1/2 sum_ij v_i v_j h_ij at every z. It takes two decoder passes and one tangent pass.

    v is rounded so that z + v is a number of the dtype of z. A linear decoder then has no bend but
    the rounding of its own output, which in bfloat16 may exceed a small bend.

    Args:
        decode: maps one latent [m] to a pytree of arrays of any shape.
        z: latent, [m].
        step: v, [m].

    Returns:
        (value, tangent, bend): f(z), J v and the bend, pytrees like the decoder's output; the last
        two in at least 32 bits.

    Raises:
        ArgumentError: if z is not of rank 1, or the step has another shape.
    """
    check_vector("z", z)
    check_shape("step", step, z.shape, ", as z has")
    moved = rounded_like(wide(z) + wide(step), z)
    value, tangent = jax.jvp(decode, (z,), ((wide(moved) - wide(z)).astype(moved.dtype),))
    bend = jax.tree.map(
        lambda there, here, along: wide(there) - wide(here) - wide(along),
        decode(moved),
        value,
        tangent,
    )
    return value, wide(tangent), bend


def bend_penalty(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    posterior: GaussianPosterior,
    likelihood: InformationLikelihood,
    *,
    num_samples: int = 1,
) -> Array:
    """An unbiased estimate of the expected bend of the decoder under a Gaussian posterior.

        1/2 E_q b(v)' F b(v),   z = mu + v ~ q,   for a Gaussian E_q |b(v)|^2 / (2c)

    F is the likelihood's `information` at f(mu), so that the unit is nats. It is 0 for a linear
    decoder, without noise.

    With A^2 = E_q |x - f(mu) - J v|^2, B^2 = E_q |b|^2 and E^2 = E_q |x - f(z)|^2, Minkowski's
    inequality says |A - B| <= E <= A + B. `linearized_elbo` has A^2 / (2c) where the ELBO has
    E^2 / (2c): it is off by (2 A B + B^2) / (2c) at most, in either direction. By the inequality of
    Cauchy and Schwarz, (A + B)^2 <= (1 + 1/w) (A^2 + w B^2), so that the linearised ELBO less w
    times the penalty, and less n/2 log(1 + 1/w), is a lower bound of the ELBO of a model with the
    variance c (1 + 1/w). At the variance c no w makes it a bound, but with w = 1 it is closer to
    the ELBO than without the penalty wherever the linearised ELBO exceeds the ELBO by more than
    half the penalty.

    Args:
        rng: key of this example's steps.
        decode: maps one latent [m] to the likelihood's parameters, a pytree.
        x: one example, for likelihoods whose information depends on it.
        posterior: q(z|x), a Gaussian with `mean` [m] and `deviation(noise [m])`, such as
            `posteriors.DiagonalGaussian(mean, stddev)`.
        likelihood: p(x|z), with `information(x, parameters, tangent)`.
        num_samples: number of steps drawn, at least 1; each takes a decoder pass and a tangent
            pass, and all share one decoder pass at mu.

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if rng is no key, the posterior is not a Gaussian, the likelihood has no
            `information`, or num_samples is less than 1.
    """
    check_has("posterior", posterior, "deviation", "posteriors.DiagonalGaussian(mean, stddev)")
    check_has("likelihood", likelihood, "information", "likelihoods.Gaussian(variance)")
    check_key(rng)
    check_vector("the posterior's mean", posterior.mean)
    check_at_least_one("num_samples", num_samples)

    def of_step(key: Array) -> Array:
        step = posterior.deviation(normal_like(key, posterior.mean))
        parameters, _, bend = decoder_bend(decode, posterior.mean, step)
        return 0.5 * wide(likelihood.information(x, parameters, bend))

    return jnp.mean(jax.vmap(of_step)(jax.random.split(rng, num_samples)))


def with_bend(of_example: Callable[[Example], Elbo]) -> Callable[[Example], Elbo]:
    """Lets an objective of one example measure the bend where `bend_weight` is set.

    Args:
        of_example: computes the objective's value.

    Returns:
        A function that computes the same `Elbo`, with its `bend` from one step; it is unchanged
        where the weight is 0.
    """

    def value(example: Example) -> Elbo:
        elbo = of_example(example)
        if is_off(example.options.bend_weight):
            return elbo
        rng = stream_key(example.rng, ExampleStream.BEND)  # the objective may draw with the key
        given = (example.decode, example.x, example.posterior, example.likelihood)
        return dataclasses.replace(elbo, bend=bend_penalty(rng, *given))

    return value
