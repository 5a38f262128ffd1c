"""The ELBO of a decoder that is replaced by its tangent at the posterior mean; no samples.

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.bend import with_bend
from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.monte_carlo import log_likelihood_of
from sfvae_jax.objectives.numerics.checks import ArgumentError, check_example, check_has
from sfvae_jax.objectives.numerics.gaussian import gaussian_log_prob
from sfvae_jax.objectives.numerics.gaussian_posterior import Latents, latents
from sfvae_jax.objectives.numerics.precision import wide
from sfvae_jax.objectives.numerics.probes import check_probes, probe_signs
from sfvae_jax.objectives.numerics.tangents import parameter_tangents, tangents
from sfvae_jax.objectives.sampling_free import scalar_or_per_element
from sfvae_jax.objectives.spec import (
    Example,
    GaussianPosterior,
    InformationLikelihood,
    ObjectiveInfo,
    is_gaussian_or_factorized,
    is_linearizable,
)


def linearized_elbo(
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array | GaussianPosterior,
    stddev: Array | float | None = None,
    *,
    observation_variance: Array | float,
    prior_stddev: Array | float = 1.0,
    tangent_decode: Callable[[Array], Array] | None = None,
    num_probes: int = 0,
    rng: Array | None = None,
) -> Elbo:
    """The ELBO of a Gaussian VAE with the decoder replaced by its tangent at the posterior mean.

        log_likelihood = log N(x; f(mu), diag(c)) - 1/2 tr(J' diag(1/c) J Sigma)
        kl             = KL(N(mu, Sigma) || N(0, diag(prior_stddev^2)))

    Sigma is diag(stddev^2), or L L' for a posterior N(mu, L L'), where the trace is
    |diag(c)^-1/2 J L|^2. (BACK Eq. 17, whose "m log 2 pi" is n log 2 pi here.) If the decoder is
    linear where the posterior has its mass, the value is exactly the ELBO, without any sample.
    Otherwise it approximates the ELBO and is not a bound. It contains the expectation of the
    logarithm of p(x|z), whereas `sampling_free_elbo` contains the logarithm of the expectation.

    With `num_probes` = k the trace is estimated from k tangents instead of m (BACK Eqs. 19, 20):

        tr(J' diag(1/c) J Sigma) = E v' J' diag(1/c) J v,   v = L u,   E u u' = I

    Any noise u with E u u' = I gives an unbiased value and gradient. BACK has v ~ N(0, Sigma); here
    u are random signs, whose variance is least among independent entries: with
    A = L' J' diag(1/c) J L and Sigma = L L', it is sum_{i<j} A_ij^2 / k for the value, and N(0, I)
    adds sum_i A_ii^2 / (2k). The value of one probe is exact if the columns of J L are orthogonal
    under 1/c; its gradient is not. The noise does not depend on the residual.

    Args:
        decode: maps one latent [m] to a mean shaped like x.
        x: one example, of any shape with n elements.
        mean: posterior mean mu, [m]; or a Gaussian posterior of one example, such as
            `posteriors.FullCovarianceGaussian`, with stddev left out.
        stddev: posterior standard deviations, positive, a scalar or [m].
        observation_variance: c, positive; a scalar or one per element, shaped like x or [n].
        prior_stddev: prior standard deviations, positive, a scalar or [m].
        tangent_decode: as in `sampling_free_elbo`.
        num_probes: k, the number of probes of the trace; 0 takes all m tangents and no noise.
        rng: key of this example's probes; only needed with `num_probes`.

    Returns:
        An `Elbo` of scalars, in nats, with `kl_per_dimension` [m] if the dimensions are
        independent.

    Raises:
        ArgumentError: if the shapes do not fit, a deviation or variance is known not to be
            positive, num_probes is negative, rng is missing, or the posterior is no Gaussian.
    """
    q = latents(mean, stddev, prior_stddev)
    directions, weights = _directions(rng, num_probes, q)
    x_hat, jacobian = tangents(decode, q.mean, tangent_decode, directions)
    check_example(x, x_hat)
    variance = scalar_or_per_element(observation_variance, x_hat)
    # The trace only needs the quadratic forms of single directions.
    trace = jnp.sum(jacobian.gram_diagonal(variance) * weights)
    return q.elbo(gaussian_log_prob(x.ravel(), x_hat.ravel(), variance) - 0.5 * trace)


def second_order_elbo(
    decode: Callable[[Array], Any],
    x: Array,
    mean: Array | GaussianPosterior,
    stddev: Array | float | None = None,
    likelihood: InformationLikelihood | None = None,
    *,
    prior_stddev: Array | float = 1.0,
    tangent_decode: Callable[[Array], Any] | None = None,
    num_probes: int = 0,
    rng: Array | None = None,
) -> Elbo:
    """Extends `linearized_elbo` to any likelihood with an `information`; it is not a bound.

        log_likelihood = log p(x | theta(mu)) - 1/2 sum_i s_i^2 t_i' F t_i,   s = stddev
        kl             = KL(N(mu, diag(s^2)) || N(0, diag(prior_stddev^2)))

    theta is the decoder's output, the t_i = d theta / d z_i are its tangents at mu, and
    F = -d^2 log p(x | theta) / d theta^2 at theta(mu). This is the library's extension of BACK
    Eq. 17. It first replaces the decoder by its tangent,
    theta(z) = theta(mu) + sum_i e_i t_i with e = z - mu, and then expands
    log p(x | theta(z)) to second order in e. The linear term has mean 0, and the quadratic term has
    mean -1/2 sum_i s_i^2 t_i' F t_i, since E e e' = diag(s^2). For logits, log p = l_x - log sum_k
    exp l_k, where only the log-sum-exp is curved: t' F t = Var_{k ~ p}(t_k), summed over the
    places of a sequence. For a posterior N(mu, L L') the t_i are those along the columns of L, and
    the s_i are 1.

    theta must be parameters in which log p is concave: otherwise t' F t may be negative, and where
    it is below -1 the value has no maximum in s. Of a likelihood with a learned scale, log p is not
    concave in location and scale, and `information` takes theta = (1/scale, location/scale), to
    which it converts the tangents (docs/second_order.md has the derivation).

    Its error, the value minus the exact ELBO, depends on the likelihood and the decoder. The log
    density of a Gaussian with fixed variance is quadratic, so that this is `linearized_elbo`. For a
    decoder that is linear in theta the error has order s^4, because odd moments of e are 0: for
    logits, with one latent and one place, it is s^4/8 times the fourth cumulant of the tangent
    under p, which has either sign. For a curved decoder it has order s^2, as in `linearized_elbo`:
    the term of its curvature, 1/2 sum_i s_i^2 (d log p / d theta)' d^2 theta / d z_i^2, is left
    out. It is small where the decoder fits x. For logits that grow with z, the log-sum-exp grows as
    s while the quadratic term falls as s^2, so that for a large s the value is too low by an
    unbounded amount. But where p is almost certain at mu, F is almost 0, and the value is too high
    if s is large enough to reach less certain logits.

    With `num_probes` = k the sum is estimated from k tangents t = J v instead of m, as in
    `linearized_elbo`: sum_i s_i^2 t_i' F t_i = E (J v)' F (J v) with v = s * u and random signs u.

    Args:
        decode: maps one latent [m] to the likelihood's parameters, a pytree.
        x: one example.
        mean: posterior mean mu, [m]; or a Gaussian posterior of one example, such as
            `posteriors.FullCovarianceGaussian`, with stddev left out.
        stddev: posterior standard deviations, positive, a scalar or [m].
        likelihood: p(x|z), with `log_prob(x, parameters)` and `information(x, parameters,
            tangent)`, which is t' F t; for example `likelihoods.Categorical`.
        prior_stddev: prior standard deviations, positive, a scalar or [m].
        tangent_decode: as in `sampling_free_elbo`.
        num_probes: as in `linearized_elbo`.
        rng: as in `linearized_elbo`.

    Returns:
        An `Elbo` of scalars, in nats, with `kl_per_dimension` [m] if the dimensions are
        independent.

    Raises:
        ArgumentError: if the shapes do not fit, a deviation is known not to be positive, the
            likelihood is missing or has no `information`, num_probes is negative, rng is missing,
            or the posterior is no Gaussian.
    """
    if likelihood is None:
        raise ArgumentError(
            "likelihood is missing; beside a posterior give it by name: likelihood=..."
        )
    check_has("likelihood", likelihood, "information", "likelihoods.Categorical()")
    q = latents(mean, stddev, prior_stddev)
    directions, weights = _directions(rng, num_probes, q)
    parameters, rows = parameter_tangents(decode, q.mean, tangent_decode, directions)
    trace = jnp.sum(information_along(rows, likelihood, x, parameters) * weights)
    return q.elbo(log_likelihood_of(likelihood, x, parameters) - 0.5 * trace)


def information_along(
    rows: Any, likelihood: InformationLikelihood, x: Array, parameters: Any
) -> Array:
    """t' F t of each tangent t of the parameters, [k], in at least 32 bits.

    Args:
        rows: the tangents, a pytree like the parameters, whose leaves have a leading axis [k].
        likelihood: p(x|z), which knows F.
        x: one example.
        parameters: the decoder's output.
    """
    return jax.vmap(lambda tangent: wide(likelihood.information(x, parameters, tangent)))(rows)


def _directions(rng: Array | None, num_probes: int, q: Latents) -> tuple[Array | None, Array]:
    """Returns directions v_k [k, m] and weights w_k [k] whose sum of w_k v_k v_k' is Sigma.

    Of probes that is the expectation. Without probes, None stands for the basis.
    """
    check_probes(num_probes, rng)
    if rng is None or not num_probes:
        return q.directions, jnp.square(q.scale)
    directions = q.deviations(probe_signs(rng, num_probes, q.scale.size))
    return directions, jnp.full(num_probes, 1.0 / num_probes)


def _of_example(example: Example) -> Elbo:
    given = example.decode, example.x, example.posterior
    options: dict[str, Any] = {
        "tangent_decode": example.tangent_decode,
        "num_probes": example.options.num_probes,
        "rng": example.rng,
    }
    if example.squared_error:
        variance = example.likelihood.variance
        return linearized_elbo(*given, observation_variance=variance, **options)
    return second_order_elbo(*given, likelihood=example.likelihood, **options)


LINEARIZED = ObjectiveInfo(
    name="linearized",
    summary="the ELBO of the linearised decoder",
    function="linearized_elbo",
    of_sequences="second_order_elbo",
    source="BACK Eq. 17",
    of_example=with_bend(_of_example),
    takes_posterior=is_gaussian_or_factorized,
    takes_likelihood=is_linearizable,
    default_posterior="diagonal",
    deterministic=True,
    closed_form_kl=True,
    parts=True,
    bound="no: an approximation",
    decoder_passes="1 + m tangents, or num_probes; bend_weight adds 1 + 1 tangent",
    has_tangents=True,
    jacobian_at_mean=True,
    options=("num_probes", "bend_weight"),
    default_beta=1.0,
)
