"""Random directions in place of all m tangents of a decoder.

J is the decoder's Jacobian at the posterior mean, N(mean, L L') the posterior, c the observation
variance, and A = I + L' J' diag(1/c) J L.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_at_least_one,
    check_count,
    check_example,
    in_one_line,
    is_key,
)
from sfvae_jax.objectives.numerics.decoders import has_short_form
from sfvae_jax.objectives.numerics.gaussian import gaussian_log_prob
from sfvae_jax.objectives.numerics.lanczos import krylov
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.objectives.numerics.precision import rounded_like, wide
from sfvae_jax.objectives.numerics.tangents import symmetric_product, tangents

LANCZOS_STEPS = 8  # by default
Decoder = Callable[[Array], Array]


def check_probes(num_probes: int, rng: Any, lanczos_steps: int = 1) -> None:
    """Checks the numbers of probes and steps, and that there is a key to draw probes from.

    Raises:
        ArgumentError: if one of them does not hold.
    """
    check_count("num_probes", num_probes)
    if num_probes and not is_key(rng):
        raise ArgumentError(
            f"num_probes={num_probes} requires rng, a key such as jax.random.key(0); got"
            f" {in_one_line(rng)}"
        )
    check_at_least_one("lanczos_steps", lanczos_steps)


def probe_signs(rng: Array, num_probes: int, size: int) -> Array:
    """Random signs u_k uniform on {-1, 1}^m, [num_probes, m], so that E u_k u_k' = I.

    For a symmetric A the estimate u'A u of tr A then has the variance 4 sum_{i<j} A_ij^2, whereas
    noise u ~ N(0, I) adds 2 sum_i A_ii^2 to it. It is exact for a diagonal A, and for m = 1.
    """
    return jax.random.rademacher(rng, (num_probes, size), "float32")


def probed_gaussian_log_prob(
    signs: Array,
    decode: Decoder,
    tangent_decode: Decoder | None,
    mean: Array,
    deviations: Callable[[Array], Array],
    x: Array,
    variance: Array,
    lanczos_steps: int,
    gamma: Array | float | None = None,
    log_det_weight: Array | float = 1.0,
) -> Array:
    """Estimates `tangent_gaussian_log_prob` from a few products with A instead of m tangents.

        log N(r; 0, diag(c)) - w/2 log det A + gamma/2 p' A^-1 p,   p = L' J' diag(1/c) r
        log det A = E u' log(A) u,   with the gradient of E |diag(c)^-1/2 J L h|^2,  h = A^-1/2 u
        p' A^-1 p = max_y 2 y'p - y'A y,   at y = A^-1 p

    The Lanczos iteration finds u' log(A) u, h and y, which carry no gradient. What carries it are
    the tangents J L h_k and J L y, one for each probe and one more. By d log det A = tr(A^-1 dA) =
    E h' dA h, and since y maximises, their gradients are those of the two terms, up to the error of
    the iteration. `sampling_free_elbo` says what that error is.

    Args:
        signs: u_k, [k, m].
        decode: maps one latent [m] to a mean shaped like x.
        tangent_decode: the decoder whose Jacobian is J; None if it is `decode`.
        mean: [m].
        deviations: the linear map of each row e of noise [k, m] to L e, in at least 32 bits.
        x: one example, with n elements.
        variance: c, [] or [n].
        lanczos_steps: number of steps of the iteration, in each of which every u_k and p takes a
            product with A.
        gamma: weight of the quadratic correction; None leaves it out, and y with it.
        log_det_weight: w, the weight of -1/2 log det A.

    Returns:
        A scalar, in nats.
    """
    source, number = decode if tangent_decode is None else tangent_decode, len(signs)
    x_hat = decode(mean)
    check_example(x, x_hat)
    residual = (wide(x_hat) - wide(x)).ravel()
    given = source, mean, deviations, variance, residual, lanczos_steps * number
    product, projection = _fixed_products(*given)
    starts = signs.astype(projection.dtype)
    if gamma is not None:
        starts = jnp.concatenate([starts, projection[None, :]])
    log_dets, roots, solutions = jax.vmap(lambda b: _functions(product, b, lanczos_steps))(starts)
    noises = jnp.concatenate([roots[:number], solutions[number:]])
    _, jacobian = tangents(source, mean, directions=deviations(noises))
    forms = jacobian.gram_diagonal(variance)  # |diag(c)^-1/2 J L h|^2 of each direction
    by_probes = jnp.mean(forms[:number])
    log_det = jnp.mean(log_dets[:number]) + by_probes - jax.lax.stop_gradient(by_probes)
    value = gaussian_log_prob(residual, jnp.zeros_like(residual), variance)
    value -= 0.5 * log_det_weight * log_det
    if gamma is None:
        return value
    linear = jacobian.project(residual, variance)[-1]  # y'p
    quadratic = 2.0 * linear - forms[-1] - jnp.sum(jnp.square(noises[-1]))
    return value + 0.5 * gamma * quadratic


def _functions(
    product: Callable[[Array], Array], start: Array, num_steps: int
) -> tuple[Array, Array, Array]:
    """Returns b' log(A) b, A^-1/2 b and A^-1 b."""
    space = krylov(product, start, num_steps, smallest=1.0)
    return space.quadratic(jnp.log), space.apply(jax.lax.rsqrt), space.apply(jnp.reciprocal)


def _fixed_products(
    source: Decoder,
    mean: Array,
    deviations: Callable[[Array], Array],
    variance: Array,
    residual: Array,
    number: int,
) -> tuple[Callable[[Array], Array], Array]:
    """Returns the map of v to A v, and p = L' J' diag(1/c) r, in which nothing has a gradient.

    Args:
        source: the decoder whose Jacobian is J.
        mean: [m].
        deviations: as in `probed_gaussian_log_prob`.
        variance: c, [] or [n].
        residual: r, [n].
        number: about how often the product will be taken.
    """
    fixed = jax.lax.stop_gradient
    output, metric, force = _inner_product(source, *fixed((variance, residual)), number)
    origin = jnp.zeros(mean.shape, wide(mean).dtype)

    def of_noise(noise: Array) -> Array:
        return wide(output(rounded_like(wide(mean) + deviations(noise[None, :])[0], mean))).ravel()

    # What the functions hold, such as parameters, becomes an argument, which can be held fixed.
    converted, held = jax.closure_convert(of_noise, origin)
    _, push = jax.linearize(lambda noise: converted(noise, *fixed(held)), origin)
    pull = jax.linear_transpose(push, origin)

    def product(vector: Array) -> Array:
        return vector + pull(metric(push(vector)))[0]

    return product, pull(force)[0]


def _inner_product(
    source: Decoder, variance: Array, residual: Array, number: int
) -> tuple[Decoder, Callable[[Array], Array], Array]:
    """Returns g, the map of its tangents t to M t, and a vector b.

    With the Jacobian G of g: J' diag(1/c) J = G' M G and J' diag(1/c) r = G' b. For a decoder that
    ends in a dense layer W, g is its hidden layer and M = W W'/c, if this takes less work.
    """
    if not variance.ndim and has_short_form(source, number):
        kernel = jax.lax.stop_gradient(source.kernel)
        inner = symmetric_product(kernel) / variance
        return source.hidden, lambda t: matmul(inner, t), matmul(kernel, residual / variance)
    return source, lambda t: t / variance, residual / variance
