"""The log evidence of the decoder's tangent at a code.

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder". Its m and n are
swapped here: m is the latent size and n the data size.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics.checks import check_example
from sfvae_jax.objectives.numerics.gaussian import prior_deviations
from sfvae_jax.objectives.numerics.precision import wide
from sfvae_jax.objectives.numerics.probes import (
    LANCZOS_STEPS,
    check_probes,
    probe_signs,
    probed_gaussian_log_prob,
)
from sfvae_jax.objectives.numerics.tangents import tangents
from sfvae_jax.objectives.sampling_free import scalar_or_per_element, tangent_gaussian_log_prob
from sfvae_jax.objectives.spec import Example, ObjectiveInfo, is_code, is_squared_error


def log_evidence(
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array,
    *,
    observation_variance: Array | float,
    prior_stddev: Array | float = 1.0,
    tangent_decode: Callable[[Array], Array] | None = None,
    num_probes: int = 0,
    lanczos_steps: int = LANCZOS_STEPS,
    rng: Array | None = None,
) -> Array:
    """The log evidence log p(x) under the decoder's tangent at mu; it needs no posterior variance.

    -1/2 [n log 2 pi + |S^-1 mu|^2 + r' diag(1/c) r + log det(J S^2 J' + diag(c))],
    r = x - f(mu), S = diag(prior_stddev)

    (BACK Eq. 16 for c = 1; Eq. 26 for its T = diag(c). Eq. 16 prints J J' S^2, whose shapes do not
    fit, where J S^2 J' is meant, as in Eq. 26. The paper's m is the data size, n here.) The
    determinant is computed from an m x m system. For a linear decoder the value is log p(x) itself
    if mu is the exact posterior mean, and less for any other mu. For a curved decoder it is an
    approximation and not a bound.

    With `num_probes` the determinant is estimated from a few products with J and J', as in
    `sampling_free_elbo`. The variational form of the determinant in BACK Eq. 20, in which a
    covariance Sigma is learned, is `linearized_elbo`, whose posterior is that covariance.

    Args:
        decode: maps one latent [m] to a mean shaped like x.
        x: one example, of any shape with n elements.
        mean: the code mu, [m].
        observation_variance: c, positive; a scalar or one per element, shaped like x or [n].
        prior_stddev: prior standard deviations, positive, a scalar or [m].
        tangent_decode: as in `sampling_free_elbo`.
        num_probes: as in `sampling_free_elbo`.
        lanczos_steps: as in `sampling_free_elbo`.
        rng: key of this example's probes; only needed with `num_probes`.

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if the shapes do not fit, a deviation or variance is known not to be
            positive, num_probes is negative, lanczos_steps is less than 1, or rng is missing.
    """
    prior_stddev = prior_deviations(mean, prior_stddev)
    check_probes(num_probes, rng, lanczos_steps)
    prior = -0.5 * jnp.sum(jnp.square(wide(mean) / prior_stddev))
    if rng is not None and num_probes:
        return prior + probed_gaussian_log_prob(
            probe_signs(rng, num_probes, mean.size),
            decode,
            tangent_decode,
            mean,
            lambda noise: prior_stddev[None, :] * noise,
            x,
            scalar_or_per_element(observation_variance, x),
            lanczos_steps,
        )
    x_hat, jacobian = tangents(decode, mean, tangent_decode)
    check_example(x, x_hat)
    # gamma = 0 keeps the determinant of J S^2 J' + diag(c) and leaves the residual unwhitened.
    variance = scalar_or_per_element(observation_variance, x_hat)
    residual = (wide(x_hat) - wide(x)).ravel()
    noise = tangent_gaussian_log_prob(residual, jacobian, prior_stddev, variance, gamma=0.0)
    return prior + noise


def _of_example(example: Example) -> Array:
    return log_evidence(
        example.decode,
        example.x,
        example.posterior.mean,
        observation_variance=example.likelihood.variance,
        tangent_decode=example.tangent_decode,
        num_probes=example.options.num_probes,
        lanczos_steps=example.options.lanczos_steps,
        rng=example.rng,
    )


LOG_EVIDENCE = ObjectiveInfo(
    name="log_evidence",
    summary="the log evidence of the linearised decoder, with no posterior variance",
    function="log_evidence",
    source="BACK Eqs. 16, 26",
    of_example=_of_example,
    takes_posterior=is_code,
    takes_likelihood=is_squared_error,
    default_posterior="none",
    deterministic=True,
    bound="no: an approximation",
    decoder_passes="1 + m tangents, or 2 num_probes lanczos_steps",
    has_tangents=True,
    jacobian_at_mean=True,
    options=("num_probes", "lanczos_steps"),
)
