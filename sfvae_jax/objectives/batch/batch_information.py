"""Objectives of a batch, with a prior whose variance follows the codes (BACK, Sections 4.3 to 5.1).

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder". All examples have
one posterior variance Sigma, and the prior's variance floats with the codes: S^2 = Sigma + M_B,
where M_B is the batch's mean of mu^2. A batch that several devices share has one S^2: with
`axis_name` (of `jax.pmap`, `vmap`, or `shard_map` with `check_vma=False`) the functions take the
examples of one device, but compute the statistics and the noise of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.monte_carlo import check_likelihood, log_likelihood_of
from sfvae_jax.objectives.numerics.batch import batch_mean, example_keys
from sfvae_jax.objectives.numerics.checks import (
    check_batch,
    check_one_for_each,
    check_positive,
    check_scalar,
    check_shape,
    per_element,
)
from sfvae_jax.objectives.numerics.gaussian import (
    LOG_2_PI,
    gaussian_entropy,
    gaussian_expected_log_prior,
    gaussian_kl_per_dimension,
)
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide
from sfvae_jax.objectives.spec import (
    Batch,
    Likelihood,
    ObjectiveInfo,
    has_fixed_variance,
    is_any,
    is_squared_error,
)


def floating_prior_variance(
    means: Array, posterior_variance: Array, *, axis_name: str | None = None
) -> Array:
    """The prior variance that fits a batch of codes best.

    S^2 = Sigma + M_B,   M_B = mean over the batch of mu^2   (BACK Eq. 4, on the diagonal)

    M_B is not centred, because the prior's mean is zero.

    Args:
        means: posterior means mu, [B, m].
        posterior_variance: Sigma, positive, a scalar or [m].
        axis_name: axis over which the batch is shared.

    Returns:
        Shape [m].

    Raises:
        ArgumentError: if the shapes do not fit, or the variance is known not to be positive.
    """
    means, posterior_variance = checked_means(means, posterior_variance)
    return posterior_variance + batch_mean(jnp.square(means), axis_name)


def constant_variance_elbo(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    means: Array,
    posterior_variance: Array,
    likelihood: Likelihood,
    *,
    axis_name: str | None = None,
) -> Elbo:
    """The ELBO of each example with one posterior variance and the prior that fits the batch best.

    log_likelihood_i = log p(x_i | decode(z_i)),   z_i ~ N(mu_i, Sigma), one sample
    kl_i             = KL(N(mu_i, Sigma) || N(0, S^2)),   S^2 = `floating_prior_variance`

    (BACK Eq. 2 with Eq. 4.) With the same noise, its mean over the batch equals `bilbo`, and their
    gradients are equal too: S^2 is optimal for the batch, so that the trace and the squared codes
    sum to m.

    Args:
        rng: key of the step; example i of the whole batch draws from `fold_in(rng, i)`.
        decode: maps one latent [m] to the likelihood's parameters.
        x: the batch, [B, ...].
        means: posterior means mu, [B, m].
        posterior_variance: Sigma, positive, a scalar or [m].
        likelihood: p(x|z), with `log_prob(x, parameters)`.
        axis_name: axis over which the batch is shared.

    Returns:
        An `Elbo` of arrays [B], in nats, with `kl_per_dimension` [B, m].

    Raises:
        ArgumentError: if the shapes do not fit, or the variance is known not to be positive.
    """
    prior_variance = floating_prior_variance(means, posterior_variance, axis_name=axis_name)
    centers, variance = checked_means(means, posterior_variance)
    prior_stddev, stddev = jnp.sqrt(prior_variance), jnp.sqrt(variance)

    def parts(mean: Array) -> tuple[Array, Array]:
        return (
            gaussian_expected_log_prior(mean, stddev, prior_stddev),
            gaussian_kl_per_dimension(mean, stddev, prior_stddev),
        )

    log_prior, kl_per_dimension = jax.vmap(parts)(centers)
    z = _sample(rng, means, posterior_variance, axis_name)
    return Elbo(
        log_likelihood=_log_likelihoods(decode, x, z, likelihood),
        log_prior=log_prior,
        entropy=jnp.full(means.shape[:1], gaussian_entropy(stddev)),
        kl_per_dimension=kl_per_dimension,
    )


def bilbo(
    rng: Array,
    decode: Callable[[Array], Any],
    x: Array,
    means: Array,
    posterior_variance: Array,
    likelihood: Likelihood,
    *,
    axis_name: str | None = None,
) -> Array:
    """The Batch Information Lower Bound.

    -1/2 log det(I + Sigma^-1 M_B) + mean over the batch of log p(x_i | decode(z_i)),
    z_i ~ N(mu_i, Sigma), M_B = mean over the batch of mu^2   (BACK Eq. 24, on the diagonal)

    In expectation it is a lower bound of the batch's mean of log p(x) under the prior
    N(0, Sigma + M_B), which the batch itself determines.

    Args:
        rng: key of the step; example i of the whole batch draws from `fold_in(rng, i)`.
        decode: maps one latent [m] to the likelihood's parameters.
        x: the batch, [B, ...].
        means: posterior means mu, [B, m].
        posterior_variance: Sigma, positive, a scalar or [m].
        likelihood: p(x|z), with `log_prob(x, parameters)`.
        axis_name: axis over which the batch is shared.

    Returns:
        A scalar, in nats per example, the same on all devices.

    Raises:
        ArgumentError: if the shapes do not fit, or the variance is known not to be positive.
    """
    scatter = code_scatter(means, posterior_variance, axis_name)
    z = _sample(rng, means, posterior_variance, axis_name)
    log_likelihood = batch_mean(_log_likelihoods(decode, x, z, likelihood), axis_name)
    return log_likelihood - 0.5 * jnp.sum(jnp.log1p(scatter))


def bilbo_baggins(
    rng: Array,
    decode: Callable[[Array], Array],
    x: Array,
    means: Array,
    posterior_variance: Array,
    *,
    tau: float,
    axis_name: str | None = None,
) -> Array:
    """BILBO with a Gaussian likelihood whose variance is bounded by the batch's information.

    -1/2 [log det(I + Sigma^-1 M_B) + 1/tau tr(I + Sigma^-1 M_B) + mean_i n log(2 pi T_i)],
    T_i = tau |x_i - decode(z_i)|^2 / tr(Sigma^-1 S^2),   S^2 = Sigma + M_B

    (BACK Eqs. 29 and 30.) All n elements of example i have the variance T_i, so that the term in
    1/tau is the squared residual divided by T_i; gradients flow through T_i and M_B. Scaling data
    and decoder by lambda changes the value by -n log lambda. Where the residual is zero,
    log |x - decode(z)|^2 has a floor and a gradient of zero.

    Args:
        rng: key of the step; example i of the whole batch draws from `fold_in(rng, i)`.
        decode: maps one latent [m] to a mean shaped like an example.
        x: the batch, [B, ...], each with n elements.
        means: posterior means mu, [B, m].
        posterior_variance: Sigma, positive, a scalar or [m].
        tau: the information factor, positive.
        axis_name: axis over which the batch is shared.

    Returns:
        A scalar, in nats per example, the same on all devices.

    Raises:
        ArgumentError: if the shapes do not fit, or tau or the variance is known not to be positive.
    """
    check_scalar("tau", tau)
    check_positive("tau", tau)
    scatter = code_scatter(means, posterior_variance, axis_name)
    information = jnp.sum(1.0 + scatter)  # tr(Sigma^-1 S^2)
    x_hat = jax.vmap(decode)(_sample(rng, means, posterior_variance, axis_name))
    check_shape("x", x, x_hat.shape, ", as the decoded batch has")
    x, x_hat = wide((x, x_hat))
    squares = jnp.sum(jnp.square(x - x_hat).reshape(x.shape[0], -1), axis=1)
    log_squares = jnp.log(jnp.maximum(squares, jnp.finfo(squares.dtype).tiny))
    log_variance = batch_mean(log_squares, axis_name) + jnp.log(tau) - jnp.log(information)
    return -0.5 * (
        jnp.sum(jnp.log1p(scatter)) + information / tau + x[0].size * (LOG_2_PI + log_variance)
    )


def checked_means(means: Array, posterior_variance: Array | float) -> tuple[Array, Array]:
    """Checks means [B, m] and broadcasts the variance to [m]; both get at least 32 bits."""
    check_batch("means", means)
    check_positive("posterior_variance", posterior_variance)
    means, variance = wide((means, posterior_variance))
    return means, per_element("posterior_variance", variance, _one_of(means))


def code_scatter(means: Array, posterior_variance: Array | float, axis_name: str | None) -> Array:
    """The diagonal of Sigma^-1 M_B, [m]."""
    means, posterior_variance = checked_means(means, posterior_variance)
    return batch_mean(jnp.square(means), axis_name) / posterior_variance


def _sample(
    rng: Array, means: Array, posterior_variance: Array | float, axis_name: str | None
) -> Array:
    """Draws z_i ~ N(mu_i, Sigma), [B, m], with a key for each place in the whole batch."""
    centers, variance = checked_means(means, posterior_variance)
    keys = example_keys(rng, means.shape[0], axis_name)
    noise = jax.vmap(lambda key: normal_like(key, _one_of(centers)))(keys)
    return rounded_like(centers + jnp.sqrt(variance)[None, :] * noise, means, posterior_variance)


def _one_of(batch: Array) -> jax.ShapeDtypeStruct:
    """The shape and dtype of one example of a batch."""
    return jax.ShapeDtypeStruct(batch.shape[1:], batch.dtype)


def _log_likelihoods(
    decode: Callable[[Array], Any], x: Array, z: Array, likelihood: Likelihood
) -> Array:
    check_likelihood(likelihood)
    check_one_for_each("x", x, "means", z)
    return jax.vmap(lambda x, z: log_likelihood_of(likelihood, x, decode(z)))(x, z)


class _OfLatents(NamedTuple):
    """A likelihood p(x|z) that takes the latent z as its parameters and decodes it itself.

    The objectives here take one decoder for the whole batch. With this likelihood, a decoder that
    also sees x can still differ between examples.
    """

    likelihood: Likelihood
    decode_given: Callable[[Array], Callable[[Array], Any]]

    def log_prob(self, x: Array, z: Array) -> Array:
        return self.likelihood.log_prob(x, self.decode_given(x)(z))


def _with_likelihood(objective: Callable[..., Any]) -> Callable[[Batch], Any]:
    """Adapts an objective that takes a likelihood to the `Batch` that training passes."""

    def of_batch(batch: Batch) -> Any:
        return objective(
            batch.rng,
            lambda z: z,
            batch.x,
            batch.means,
            variances_of(batch),
            _OfLatents(batch.likelihood, batch.decode_given),
            axis_name=batch.axis_name,
        )

    return of_batch


def _bilbo_baggins_of_batch(batch: Batch) -> Array:
    return bilbo_baggins(
        batch.rng,
        batch.decode,
        batch.x,
        batch.means,
        variances_of(batch),
        tau=batch.options.tau,
        axis_name=batch.axis_name,
    )


def variances_of(batch: Batch) -> Array:
    """The variance of every dimension, [m]."""
    return jnp.full(batch.means.shape[1:], batch.posterior_variance, batch.means.dtype)


CONSTANT_VARIANCE = ObjectiveInfo(
    name="constant_variance",
    summary="the sampled ELBO with one posterior variance and a prior fitted to the batch",
    function="constant_variance_elbo",
    source="BACK Eqs. 2, 4",
    of_batch=_with_likelihood(constant_variance_elbo),
    takes_posterior=has_fixed_variance,
    takes_likelihood=is_any,
    default_posterior="constant",
    closed_form_kl=True,
    parts=True,
    prior="floating",
    bound="yes, in expectation, under the batch's own prior",
    decoder_passes="1",
    default_beta=1.0,
)

BILBO = ObjectiveInfo(
    name="bilbo",
    summary="the Batch Information Lower Bound: the mean of `constant_variance` in one sum",
    function="bilbo",
    source="BACK Eq. 24",
    of_batch=_with_likelihood(bilbo),
    takes_posterior=has_fixed_variance,
    takes_likelihood=is_any,
    default_posterior="constant",
    closed_form_kl=True,
    prior="floating",
    bound="yes, in expectation, under the batch's own prior",
    decoder_passes="1",
)

BILBO_BAGGINS = ObjectiveInfo(
    name="bilbo_baggins",
    summary="BILBO with a variance of x that follows each example's residual",
    function="bilbo_baggins",
    source="BACK Eqs. 29, 30",
    of_batch=_bilbo_baggins_of_batch,
    takes_posterior=has_fixed_variance,
    takes_likelihood=is_squared_error,
    default_posterior="constant",
    closed_form_kl=True,
    prior="floating",
    density=False,
    bound="no: its variance follows the residual",
    decoder_passes="1",
    options=("tau",),
)
