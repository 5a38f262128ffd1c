"""Losses of deterministic autoencoders, which are squared errors as in their papers, not nats.

RAE is Ghosh et al., "From Variational to Deterministic Autoencoders". All these losses are
minimised; none of them bounds a likelihood. For sequences, -log p(x|z) takes the place of the
squared error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.deterministic.penalties import (
    gradient_penalty,
    hutchinson_gradient_penalty,
    squared_norm,
)
from sfvae_jax.objectives.monte_carlo import log_likelihood_of
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_example,
    check_key,
    check_not_negative,
    check_per_element,
    check_scalar,
    check_vector,
)
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide
from sfvae_jax.objectives.spec import (
    Example,
    Likelihood,
    Loss,
    ObjectiveInfo,
    Options,
    has_fixed_variance,
    is_code,
    is_squared_error,
    is_squared_error_or_of_sequences,
)


def squared_error(decode: Callable[[Array], Array], x: Array, z: Array) -> Array:
    """The squared error |x - decode(z)|^2, summed over the elements of one example   (RAE Eq. 8).

    Args:
        decode: maps one latent [m] to a reconstruction shaped like x.
        x: one example.
        z: its code, [m].

    Returns:
        A scalar, in squared units of x.

    Raises:
        ArgumentError: if the shapes do not fit.
    """
    check_vector("z", z)
    x_hat = decode(z)
    check_example(x, x_hat)
    return jnp.sum(jnp.square(wide(x).ravel() - wide(x_hat).ravel()))


def rae_loss(
    decode: Callable[[Array], Any],
    x: Array,
    z: Array,
    *,
    beta: Array | float,
    penalty: Array | float = 0.0,
    likelihood: Likelihood | None = None,
) -> Array:
    """The loss of a regularised autoencoder on one example.

    |x - decode(z)|^2 + beta/2 |z|^2 + penalty   (RAE Eq. 11)

    With a likelihood, for example one of sequences, -log p(x | decode(z)) takes the place of the
    squared error (GrammarRAE, RAE Section 6.2). A beta or penalty that was chosen for squared
    errors of pixels does not suit nats: half the squared error is -log p(x|z) at variance 1, up to
    a constant, and a sequence has fewer terms.

    `penalty` is lambda L_REG, already weighted: `gradient_penalty` (RAE-GP), `squared_norm` of the
    decoder's parameters (RAE-L2), or nothing (RAE; and RAE-SN, which instead divides each weight of
    the decoder by its `spectral_norm`). The plain autoencoder has beta = 0 and no penalty.

    Args:
        decode: maps one latent [m] to a reconstruction shaped like x, or the likelihood's
            parameters.
        x: one example.
        z: its code, [m].
        beta: weight of the code's squared norm.
        penalty: the weighted regulariser of the decoder.
        likelihood: p(x|z), with `log_prob(x, parameters)`; None for the squared error.

    Returns:
        A scalar, in squared units of x, or in nats.

    Raises:
        ArgumentError: if the shapes do not fit.
    """
    check_vector("z", z)
    check_scalar("beta", beta)
    check_scalar("penalty", penalty)
    if likelihood is None:
        error = squared_error(decode, x, z)
    else:
        error = -log_likelihood_of(likelihood, x, decode(z))
    return error + 0.5 * wide(beta) * jnp.sum(jnp.square(wide(z))) + wide(penalty)


def cv_vae_loss(
    rng: Array,
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array,
    *,
    variance: Array | float,
    beta: Array | float = 1.0,
) -> Array:
    """The loss of a constant-variance VAE on one example.

    |x - decode(mean + sqrt(variance) eps)|^2 + beta |mean|^2,   eps ~ N(0, I)

    (RAE Eq. 10, with L_KL^CV = |mean|^2, the KL divergence up to a factor and a constant.)

    Args:
        rng: key of this example's noise.
        decode: maps one latent [m] to a reconstruction shaped like x.
        x: one example.
        mean: its code, [m].
        variance: variance of the noise, not negative; a scalar or [m].
        beta: weight of the code's squared norm.

    Returns:
        A scalar, in squared units of x.

    Raises:
        ArgumentError: if rng is no key, the shapes do not fit, or the variance is known to be
            negative.
    """
    check_key(rng)
    check_vector("mean", mean)
    check_per_element("variance", variance, mean)
    check_not_negative("variance", variance)
    check_scalar("beta", beta)
    center = wide(mean)
    scale = jnp.broadcast_to(jnp.sqrt(wide(variance)), mean.shape)
    z = rounded_like(center + scale * normal_like(rng, mean), mean, variance)
    return squared_error(decode, x, z) + wide(beta) * jnp.sum(jnp.square(center))


def _regularized(example: Example, beta: float, penalty: Array) -> Loss:
    z, weight = example.posterior.mean, example.options.penalty_weight
    value = rae_loss(
        example.decode,
        example.x,
        z,
        beta=beta,
        penalty=weight * penalty,
        likelihood=example.likelihood if example.of_sequences else None,
    )
    return Loss(value, {"code_norm": jnp.sum(jnp.square(z)), "penalty": penalty})


def _autoencoder_of_example(example: Example) -> Loss:
    return _regularized(example, 0.0, jnp.zeros(()))


def _rae_of_example(example: Example) -> Loss:
    return _regularized(example, example.options.beta, jnp.zeros(()))


def _rae_l2_of_example(example: Example) -> Loss:
    if example.decoder_params is None:
        raise ArgumentError("objective 'rae_l2' requires decoder_params, the decoder's parameters")
    return _regularized(example, example.options.beta, squared_norm(example.decoder_params))


def _rae_gp_of_example(example: Example) -> Loss:
    z, num_probes = example.posterior.mean, example.options.num_probes
    if num_probes:
        penalty = hutchinson_gradient_penalty(example.rng, example.decode, z, num_probes=num_probes)
    else:
        penalty = gradient_penalty(example.tangent_decode or example.decode, z)
    return _regularized(example, example.options.beta, penalty)


def _rae_term_weights(options: Options) -> dict[str, float]:
    return {"code_norm": 0.5 * options.beta, "penalty": options.penalty_weight}


def _cv_vae_of_example(example: Example) -> Loss:
    mean = example.posterior.mean
    value = cv_vae_loss(
        example.rng,
        example.decode,
        example.x,
        mean,
        variance=example.posterior_variance,
        beta=example.options.beta,
    )
    return Loss(value, {"code_norm": jnp.sum(jnp.square(mean))})


# The paper prints no beta and no lambda. These values are from a grid search on held-out digits;
# docs/deterministic.md gives the grid, the measure and the command.
RAE = ObjectiveInfo(
    name="rae",
    summary="the reconstruction error and the codes' squared norm",
    function="rae_loss",
    source="RAE Eq. 11",
    of_example=_rae_of_example,
    takes_posterior=is_code,
    takes_likelihood=is_squared_error_or_of_sequences,
    default_posterior="none",
    deterministic=True,
    prior="none",
    density=False,
    bound="no: a reconstruction error",
    decoder_passes="1",
    default_beta=1.0,
    term_weights=_rae_term_weights,
)

AUTOENCODER = dataclasses.replace(
    RAE,
    name="autoencoder",
    summary="the reconstruction error alone",
    function="squared_error",
    of_sequences="rae_loss",
    source="RAE Eq. 8",
    of_example=_autoencoder_of_example,
    default_beta=None,
    term_weights=lambda options: {"code_norm": 0.0, "penalty": options.penalty_weight},
)

RAE_L2 = dataclasses.replace(
    RAE,
    name="rae_l2",
    summary="RAE with weight decay on the decoder",
    source="RAE Eq. 11, L_L2",
    of_example=_rae_l2_of_example,
    default_penalty_weight=1e-3,
)

RAE_GP = dataclasses.replace(
    RAE,
    name="rae_gp",
    summary="RAE with a penalty on the decoder's Jacobian",
    source="RAE Eq. 11, L_GP",
    of_example=_rae_gp_of_example,
    decoder_passes="1 + m tangents, or num_probes",
    has_tangents=True,
    options=("num_probes",),
    default_penalty_weight=1e-4,
)

RAE_SN = dataclasses.replace(
    RAE,
    name="rae_sn",
    summary="RAE with a decoder whose kernels are divided by their spectral norms",
    source="RAE Eq. 11, SN",
    takes_likelihood=is_squared_error,
    bound="no: a squared error",
    default_beta=1e-3,
    normalizes_decoder=True,
)

CV_VAE = ObjectiveInfo(
    name="cv_vae",
    summary="the squared error at noisy codes of one variance, and the codes' squared norm",
    function="cv_vae_loss",
    source="RAE Eq. 10",
    of_example=_cv_vae_of_example,
    takes_posterior=has_fixed_variance,
    takes_likelihood=is_squared_error,
    default_posterior="constant",
    prior="none",
    density=False,
    bound="no: a squared error",
    decoder_passes="1",
    default_beta=1e-3,
    term_weights=lambda options: {"code_norm": options.beta},
)
