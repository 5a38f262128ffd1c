"""The Batch Information Lower Bound of a decoder that is replaced by its tangents; no samples.

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.batch.batch_information import (
    checked_means,
    code_scatter,
    variances_of,
)
from sfvae_jax.objectives.linearized import linearized_elbo, second_order_elbo
from sfvae_jax.objectives.numerics.batch import batch_mean
from sfvae_jax.objectives.numerics.checks import check_has, check_one_for_each
from sfvae_jax.objectives.spec import (
    Batch,
    InformationLikelihood,
    ObjectiveInfo,
    has_fixed_variance,
    is_linearizable,
)


def linearized_bilbo(
    decode: Callable[[Array], Array],
    x: Array,
    means: Array,
    posterior_variance: Array | float,
    *,
    observation_variance: Array | float,
    tangent_decode: Callable[[Array], Array] | None = None,
    axis_name: str | None = None,
) -> Array:
    """BILBO with the decoder replaced by its tangent at each code: no noise, one variance.

        -1/2 log det(I + Sigma^-1 M_B)
        + mean over the batch of [log N(x_i; f(mu_i), diag(c)) - 1/2 tr(J_i' diag(1/c) J_i Sigma)],
        M_B = mean over the batch of mu^2, J_i the Jacobian of f at mu_i

    (BACK Eq. 24 on the diagonal, with the expectation of its Eq. 17.) Of z = mu + e with
    e ~ N(0, Sigma), the tangent's |x - f(mu) - J e|^2 has the mean |x - f(mu)|^2 + tr(J'J Sigma).
    So the value is the expectation of `bilbo`, exactly if the decoder is linear. Else it
    approximates it, and is no bound.

    It is the loss of a deterministic autoencoder: a squared error, a penalty on the Jacobian like
    that of `rae_gp` with the weight Sigma / 2c for each latent, and the information of the codes in
    place of their norm. It does not depend on the scale of a latent: codes times k, Sigma times k^2
    and a decoder that divides by k give the same value. Where the derivative by k is 0 with Sigma
    held fixed, Sigma^-1 = S^-2 + mean J' diag(1/c) J on the diagonal, with
    S^2 = `floating_prior_variance`: Sigma is then what BACK Eq. 12 asks for, on average.
    docs/linearised.md has the derivations, and the maximum for linear decoders.

    Args:
        decode: maps one latent [m] to a mean shaped like an example.
        x: the batch, [B, ...].
        means: posterior means mu, [B, m].
        posterior_variance: Sigma, positive, a scalar or [m].
        observation_variance: c, positive; a scalar or one per element of an example.
        tangent_decode: as in `sampling_free_elbo`.
        axis_name: axis over which the batch is shared.

    Returns:
        A scalar, in nats per example, the same on all devices.

    Raises:
        ArgumentError: if the shapes do not fit, or a variance is known not to be positive.
    """
    expected = _linearized(lambda x: decode, observation_variance, tangent_decode)
    return _value(expected, x, means, posterior_variance, axis_name)


def second_order_bilbo(
    decode: Callable[[Array], Any],
    x: Array,
    means: Array,
    posterior_variance: Array | float,
    likelihood: InformationLikelihood,
    *,
    tangent_decode: Callable[[Array], Any] | None = None,
    axis_name: str | None = None,
) -> Array:
    """Extends `linearized_bilbo` to any likelihood with an `information`; it is not a bound.

        -1/2 log det(I + Sigma^-1 M_B)
        + mean over the batch of [log p(x_i | theta(mu_i)) - 1/2 tr(J_i' F_i J_i Sigma)]

    theta is the decoder's output, J its Jacobian, and t' F t the likelihood's `information` along a
    tangent t, as in `second_order_elbo`, which also has the error of the second order.

    Args:
        decode: maps one latent [m] to the likelihood's parameters, a pytree.
        x: the batch, [B, ...].
        means: posterior means mu, [B, m].
        posterior_variance: Sigma, positive, a scalar or [m].
        likelihood: p(x|z), with `log_prob(x, parameters)` and `information(x, parameters,
            tangent)`.
        tangent_decode: as in `sampling_free_elbo`.
        axis_name: axis over which the batch is shared.

    Returns:
        A scalar, in nats per example, the same on all devices.

    Raises:
        ArgumentError: if the shapes do not fit, the variance is known not to be positive, or the
            likelihood has no `information`.
    """
    check_has("likelihood", likelihood, "information", "likelihoods.Bernoulli()")
    expected = _second_order(lambda x: decode, likelihood, tangent_decode)
    return _value(expected, x, means, posterior_variance, axis_name)


# Maps an example, its code [m] and the deviations [m] of its posterior to E log p(x|z).
_Expected = Callable[[Array, Array, Array], Array]
_DecoderOf = Callable[[Array], Callable[[Array], Any]]


def _linearized(
    decoder_of: _DecoderOf,
    observation_variance: Array | float,
    tangent_decode: Callable[[Array], Array] | None,
) -> _Expected:
    def expected(x: Array, mean: Array, stddev: Array) -> Array:
        return linearized_elbo(
            decoder_of(x),
            x,
            mean,
            stddev,
            observation_variance=observation_variance,
            tangent_decode=tangent_decode,
        ).log_likelihood

    return expected


def _second_order(
    decoder_of: _DecoderOf,
    likelihood: InformationLikelihood,
    tangent_decode: Callable[[Array], Any] | None,
) -> _Expected:
    def expected(x: Array, mean: Array, stddev: Array) -> Array:
        return second_order_elbo(
            decoder_of(x), x, mean, stddev, likelihood, tangent_decode=tangent_decode
        ).log_likelihood

    return expected


def _value(
    expected: _Expected,
    x: Array,
    means: Array,
    posterior_variance: Array | float,
    axis_name: str | None,
) -> Array:
    """The mean of E log p(x|z), less the information of the batch."""
    scatter = code_scatter(means, posterior_variance, axis_name)
    check_one_for_each("x", x, "means", means)
    stddev = jnp.sqrt(checked_means(means, posterior_variance)[1])
    values = jax.vmap(expected, (0, 0, None))(x, means, stddev)
    return batch_mean(values, axis_name) - 0.5 * jnp.sum(jnp.log1p(scatter))


def _of_batch(batch: Batch) -> Array:
    decoder_of, likelihood = batch.decode_given, batch.likelihood
    if batch.squared_error:
        expected = _linearized(decoder_of, likelihood.variance, batch.tangent_decode)
    else:
        expected = _second_order(decoder_of, likelihood, batch.tangent_decode)
    return _value(expected, batch.x, batch.means, variances_of(batch), batch.axis_name)


LINEARIZED_BILBO = ObjectiveInfo(
    name="linearized_bilbo",
    summary="the Batch Information Lower Bound of the linearised decoder, without noise",
    function="linearized_bilbo",
    of_sequences="second_order_bilbo",
    source="BACK Eqs. 17, 24",
    of_batch=_of_batch,
    takes_posterior=has_fixed_variance,
    takes_likelihood=is_linearizable,
    default_posterior="constant",
    deterministic=True,
    closed_form_kl=True,
    prior="floating",
    bound="no: an approximation",
    decoder_passes="1 + m tangents",
    has_tangents=True,
)
