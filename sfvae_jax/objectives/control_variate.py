"""The sampled ELBO with the noise of the linearised decoder taken out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.linearized import information_along
from sfvae_jax.objectives.monte_carlo import (
    check_likelihood,
    closed_form_elbo,
    log_likelihood_of,
    noise_of_samples,
    samples_at,
)
from sfvae_jax.objectives.numerics.checks import check_example, check_has
from sfvae_jax.objectives.numerics.decoders import DenseOutput
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.objectives.numerics.precision import wide
from sfvae_jax.objectives.numerics.probes import check_probes, probe_signs
from sfvae_jax.objectives.numerics.streams import ExampleStream, stream_key
from sfvae_jax.objectives.numerics.tangents import Rows, parameter_tangents, tangents
from sfvae_jax.objectives.sampling_free import scalar_or_per_element
from sfvae_jax.objectives.spec import (
    Example,
    GaussianPosterior,
    Likelihood,
    ObjectiveInfo,
    fixed_variance,
    is_gaussian,
    is_linearizable,
)

_Decoder = Callable[[Array], Any]


def control_variate_elbo(
    rng: Array,
    decode: _Decoder,
    x: Array,
    posterior: GaussianPosterior,
    likelihood: Likelihood,
    *,
    num_samples: int = 1,
    num_probes: int = 0,
    antithetic: bool = False,
    prior_stddev: Array | float = 1.0,
    tangent_decode: _Decoder | None = None,
) -> Elbo:
    """The ELBO from k samples, less the noise that the linearised decoder has at them.

        log_likelihood = 1/k sum_k [log p(x|z_k) - log p_lin(x|z_k)] + E_q log p_lin(x|z)
        kl             = KL(q(z|x) || N(0, diag(prior_stddev^2)))

    with z_k = mean + L e_k, q = N(mean, L L'). (The library's own; `linearized_elbo`, BACK Eq. 17,
    is the last term.) With theta the decoder's output, U = d theta / d e at e = 0 (that is J L),
    g = d log p / d theta and F the likelihood's information, both at the mean,

        log p_lin(x|z) = log p(x | theta(mean)) + g'U e - 1/2 e'U'F U e

    which for a Gaussian of fixed variance is the log density under the linearised decoder, and for
    other likelihoods its expansion to second order. The constant cancels, and what is subtracted is

        1/k sum_k [g'U e_k - 1/2 (e_k'U'F U e_k - tr U'F U)]

    Its expectation is 0 whatever the parameters are, so that value and gradient are unbiased
    estimates of the ELBO and its gradient; the expectation is a lower bound of log p(x). Only
    noise from the decoder's curvature and from higher derivatives of log p is left: none if decoder
    and log p are linear and quadratic.

    The trace takes all m tangents (num_probes = 0), or is the mean of e'U'F U e over directions.
    Each sample then has `num_probes` of them: its own e_k, and vectors of random signs, for which
    E e e' = I holds as well. So num_probes = 1 is the first-order control variate g'U e, in which
    the quadratic term cancels. In a linear decoder p directions leave the variance |M|^2/(2 p) at
    most, M = U'F U.
    docs/noise.md has the derivation, and where the control variate adds noise instead: where
    the posterior is wider than the decoder is straight.

    Args:
        rng: key of this example's noise; without pairs the samples are those that
            `sampling_elbo` draws.
        decode: maps one latent [m] to the likelihood's parameters, a pytree.
        x: one example.
        posterior: q(z|x), a Gaussian with `mean` and `deviation(noise)`, such as
            `posteriors.DiagonalGaussian` or `posteriors.FullCovarianceGaussian`.
        likelihood: p(x|z), with `log_prob(x, parameters)` and, unless it is a Gaussian of fixed
            variance, `information(x, parameters, tangent)`, which is t' F t. F may be any matrix
            that depends only on x and the parameters; the closer to minus the second derivative
            of log p, the less noise.
        num_samples: k, at least 1.
        num_probes: directions for each sample, its own included; 0 for all m tangents.
        antithetic: whether samples come in pairs, e and -e, which have the same tangents and no
            linear term; `num_samples` is then even.
        prior_stddev: prior standard deviations, positive, a scalar or [m].
        tangent_decode: the decoder whose tangents are taken, for example one in fewer bits; the
            estimate remains unbiased, and has the more noise the farther it is from `decode`. None
            if it is `decode`.

    Returns:
        An `Elbo` of scalars, in nats, with `kl_per_dimension` [m] where it has a closed form.

    Raises:
        ArgumentError: if rng is no key, num_samples is less than 1, or odd with pairs, num_probes
            is negative, the shapes do not fit, the posterior or the likelihood lacks a method, or a
            deviation is known not to be positive.
    """
    check_likelihood(likelihood)
    check_probes(num_probes, rng)
    noise = noise_of_samples(rng, posterior, num_samples, antithetic)
    z = samples_at(posterior, noise)
    log_likelihood = jnp.mean(jax.vmap(lambda z: log_likelihood_of(likelihood, x, decode(z)))(z))
    # The tangents of a pair differ by their sign: it needs them once, and its slopes cancel.
    own = noise[: num_samples // 2] if antithetic else noise
    directions: Array | None = None
    combine = own
    if num_probes:
        signs = probe_signs(
            stream_key(rng, ExampleStream.SIGNS), (num_probes - 1) * len(own), own.shape[1]
        )
        directions = jnp.concatenate([own, signs])
        combine = jnp.eye(len(own), len(directions), dtype=own.dtype)
    of_noise = _of_noise(decode, posterior)
    of_tangents = None if tangent_decode is None else _of_noise(tangent_decode, posterior)
    model = _linearize(of_noise, x, likelihood, directions, combine, of_tangents)
    if num_probes != 1:
        trace = jnp.sum(model.forms) if num_probes == 0 else jnp.mean(model.forms)
        log_likelihood += 0.5 * (jnp.mean(model.own_forms) - trace)
    if not antithetic:
        log_likelihood -= _slope(x, likelihood, model)
    return closed_form_elbo(log_likelihood, posterior, prior_stddev)


class _Linearized(NamedTuple):
    """The decoder at the mean of the posterior, and its tangents in the space of the noise.

    Attributes:
        parameters: theta, the decoder's output at the mean.
        tangents: U e of each sample, shaped like theta with a leading axis [k].
        own_forms: e'U'F U e of each sample, [k].
        forms: u'U'F U u of each direction u, [p]; for the basis, whose sum is the trace, [m].
    """

    parameters: Any
    tangents: Any
    own_forms: Array
    forms: Array


def _of_noise(decode: _Decoder, posterior: GaussianPosterior) -> _Decoder:
    """The decoder as a function of the noise e [m] of a sample, in at least 32 bits."""

    def latent(noise: Array) -> Array:
        return wide(posterior.mean) + posterior.deviation(noise)

    if isinstance(decode, DenseOutput):
        hidden = decode.hidden
        return dataclasses.replace(decode, hidden=lambda noise: hidden(latent(noise)), layers=None)
    return lambda noise: decode(latent(noise))


def _linearize(
    decode: _Decoder,
    x: Array,
    likelihood: Likelihood,
    directions: Array | None,
    combine: Array,
    tangent_decode: _Decoder | None,
) -> _Linearized:
    """Returns the tangents of a decoder of noise, taken at 0, and the quadratic terms of log p_lin.

    Args:
        decode: maps noise [m] to theta.
        x: one example.
        likelihood: p(x|z).
        directions: [p, m]; None for the basis of m.
        combine: [k, p]; the noise of sample i is the sum of the directions with the weights of
            row i.
        tangent_decode: the decoder whose tangents are taken; None if it is `decode`.
    """
    num_latents = (combine if directions is None else directions).shape[1]
    origin = jnp.zeros(num_latents, combine.dtype)
    variance = fixed_variance(likelihood)
    if variance is not None:
        x_hat, jacobian = tangents(decode, origin, tangent_decode, directions)
        check_example(x, x_hat)
        variance = scalar_or_per_element(variance, x_hat, "the likelihood's variance")
        moved = jacobian.push(combine)
        own_forms = Rows(moved).gram_diagonal(variance)
        of_samples = moved.reshape(-1, *x_hat.shape)
        return _Linearized(x_hat, of_samples, own_forms, jacobian.gram_diagonal(variance))
    check_has("likelihood", likelihood, "information", "likelihoods.Bernoulli()")
    parameters, rows = parameter_tangents(decode, origin, tangent_decode, directions)
    of_samples = jax.tree.map(lambda leaf: _combined(combine, leaf), rows)
    given: Any = likelihood, x, parameters  # the likelihood has an information
    own_forms = information_along(of_samples, *given)
    return _Linearized(parameters, of_samples, own_forms, information_along(rows, *given))


def _combined(weights: Array, rows: Array) -> Array:
    """Sums of rows [p, ...] with weights [k, p]; shape [k, ...]."""
    return matmul(weights, rows.reshape(len(rows), -1)).reshape(len(weights), *rows.shape[1:])


def _slope(x: Array, likelihood: Likelihood, model: _Linearized) -> Array:
    """g'U e, averaged over the samples."""
    mean = jax.tree.map(lambda leaf: jnp.mean(wide(leaf), axis=0), model.tangents)

    def log_prob(parameters: Any) -> Array:
        return log_likelihood_of(likelihood, x, parameters)

    return jax.jvp(log_prob, (wide(model.parameters),), (mean,))[1]


def _of_example(example: Example) -> Elbo:
    options = example.options
    return control_variate_elbo(
        example.rng,
        example.decode,
        example.x,
        example.posterior,
        example.likelihood,
        num_samples=options.num_samples,
        num_probes=options.num_probes,
        antithetic=options.antithetic,
        tangent_decode=example.tangent_decode,
    )


CONTROL_VARIATE = ObjectiveInfo(
    name="control_variate",
    summary="the sampled ELBO less the noise that the linearised decoder has at its samples",
    function="control_variate_elbo",
    of_example=_of_example,
    takes_posterior=is_gaussian,
    takes_likelihood=is_linearizable,
    default_posterior="diagonal",
    closed_form_kl=True,
    parts=True,
    bound="yes, in expectation",
    decoder_passes="1 + num_samples + m tangents, or num_probes for each sample",
    has_tangents=True,
    options=("num_samples", "num_probes", "antithetic"),
    default_beta=1.0,
)
