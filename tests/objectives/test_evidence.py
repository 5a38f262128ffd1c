"""The evidence of the decoder's tangent: dense Gaussians and BACK's identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from jax.test_util import check_grads

from sfvae_jax import objectives

RNG = np.random.default_rng(0)
WEIGHTS, OFFSET, X = RNG.normal(size=(6, 3)), RNG.normal(size=6), RNG.normal(size=(2, 3))
MEAN, STDDEV = np.array([0.4, -0.7, 0.2]), np.array([0.5, 1.2, 0.05])
VARIANCES = {"scalar": 0.5, "like x": RNG.uniform(0.1, 2.0, (2, 3)), "flat": RNG.uniform(0.1, 2, 6)}
PRIORS = {"scalar": 1.7, "per latent": np.array([0.6, 1.0, 2.5])}


def _linear(z):
    return (jnp.array(WEIGHTS, z.dtype) @ z + jnp.array(OFFSET, z.dtype)).reshape(2, 3)


def _curved(z):
    return jnp.tanh(_linear(z) + 0.2 * (z @ z))


def _dense(variance, prior):
    """The linear decoder's noise covariance, prior covariance and posterior precision."""
    noise = np.diag(np.broadcast_to(np.ravel(variance), 6))
    prior = np.diag(np.broadcast_to(prior, 3) ** 2)
    return noise, prior, np.linalg.inv(prior) + WEIGHTS.T @ np.linalg.solve(noise, WEIGHTS)


def _kl(mean, covariance, other_mean, other_covariance):
    """KL between two dense Gaussians."""
    difference = mean - other_mean
    return 0.5 * (
        np.trace(np.linalg.solve(other_covariance, covariance))
        + difference @ np.linalg.solve(other_covariance, difference)
        - len(mean)
        + np.linalg.slogdet(other_covariance)[1]
        - np.linalg.slogdet(covariance)[1]
    )


@pytest.mark.parametrize(
    ("variance", "prior"),
    [("scalar", "scalar"), ("scalar", "per latent"), ("like x", "per latent"), ("flat", "scalar")],
)
def test_linear_decoder_is_dense_algebra(float64, variance, prior):
    """log p(x), the posterior's precision and both ELBOs of x = W z + b + noise, by SciPy."""
    variance, prior = VARIANCES[variance], PRIORS[prior]
    noise, prior_covariance, precision = _dense(variance, prior)
    covariance = WEIGHTS @ prior_covariance @ WEIGHTS.T + noise
    log_p = scipy.stats.multivariate_normal(OFFSET, covariance).logpdf(X.ravel())
    residual = X.ravel() - OFFSET
    posterior_mean = np.linalg.solve(precision, WEIGHTS.T @ np.linalg.solve(noise, residual))

    @jax.jit
    def everything(x, mean, stddev, variance, prior):
        scales = {"observation_variance": variance, "prior_stddev": prior}
        elbo = objectives.linearized_elbo(_linear, x, mean, stddev, **scales)
        return (
            objectives.log_evidence(_linear, x, mean, **scales),
            objectives.posterior_precision(_linear, mean, **scales),
            {**vars(elbo), "kl": elbo.kl, "value": elbo.value},
            objectives.sampling_free_elbo(_linear, x, mean, stddev, gamma=1.0, **scales).value,
        )

    evidence, _, elbo, _ = everything(X, posterior_mean, STDDEV, variance, prior)
    np.testing.assert_allclose(evidence, log_p, rtol=1e-10)
    sigma = np.diag(STDDEV**2)
    gap = _kl(np.zeros(3), sigma, np.zeros(3), np.linalg.inv(precision))
    np.testing.assert_allclose(elbo["value"], log_p - gap, rtol=1e-10)

    # Anywhere else it is less, by the posterior's own quadratic.
    evidence, obtained, elbo, free = everything(X, MEAN, STDDEV, variance, prior)
    error = MEAN - posterior_mean
    assert evidence < log_p - 0.1
    np.testing.assert_allclose(evidence, log_p - 0.5 * error @ precision @ error, rtol=1e-10)
    np.testing.assert_allclose(obtained, precision, rtol=1e-10, atol=1e-12)

    x_hat, pushed = WEIGHTS @ MEAN + OFFSET, WEIGHTS @ sigma @ WEIGHTS.T
    expected = scipy.stats.multivariate_normal(x_hat, noise).logpdf(X.ravel())
    expected -= 0.5 * np.trace(np.linalg.solve(noise, pushed))
    kl = _kl(MEAN, sigma, np.zeros(3), prior_covariance)
    entropy = scipy.stats.multivariate_normal(MEAN, sigma).entropy()
    np.testing.assert_allclose(elbo["log_likelihood"], expected, rtol=1e-10)
    np.testing.assert_allclose(elbo["kl"], kl, rtol=1e-10)
    np.testing.assert_allclose(elbo["kl_per_dimension"].sum(), kl, rtol=1e-10)
    np.testing.assert_allclose(elbo["entropy"], entropy, rtol=1e-10)
    np.testing.assert_allclose(elbo["log_prior"], -kl - entropy, rtol=1e-10)
    np.testing.assert_allclose(elbo["value"], expected - kl, rtol=1e-10)
    mixture = scipy.stats.multivariate_normal(x_hat, pushed + noise).logpdf(X.ravel())
    np.testing.assert_allclose(free, mixture - kl, rtol=1e-10)


SCALES = {"observation_variance": VARIANCES["like x"], "prior_stddev": PRIORS["per latent"]}


@jax.jit
def _curved_parts(x, mean, stddev):
    """Evidence, linearised ELBO and precision of the curved decoder."""
    scales = jax.tree.map(jnp.array, SCALES)
    return (
        objectives.log_evidence(_curved, x, mean, **scales),
        objectives.linearized_elbo(_curved, x, mean, stddev, **scales).value,
        objectives.posterior_precision(_curved, mean, **scales),
    )


@jax.jit
def _gaps(precision, covariance):
    return (
        objectives.posterior_gap(precision, covariance),
        objectives.posterior_gap_second_order(precision, covariance),
    )


def test_gap_is_the_evidence_less_the_elbo(float64):
    """BACK Eq. 18, for a curved decoder and data of no relation to it; Sigma as a vector too."""
    evidence, elbo, precision = _curved_parts(X, MEAN, STDDEV)
    gap, second_order = _gaps(precision, STDDEV**2)
    assert gap > 0.1
    np.testing.assert_allclose(evidence - elbo, gap, rtol=1e-12)
    full = _gaps(precision, np.diag(STDDEV**2))
    np.testing.assert_allclose(full, (gap, second_order), rtol=1e-12)


def test_precision_is_the_negative_hessian_of_the_tangent(float64):
    """BACK Eqs. 12 and 25: that of log p(x, z) with f replaced by its tangent at mu."""

    @jax.jit
    @jax.hessian
    def hessian(z):
        x_hat, change = jax.jvp(_curved, (jnp.array(MEAN),), (z - MEAN,))
        scaled = jnp.square(x_hat + change - X) / SCALES["observation_variance"]
        return -0.5 * (jnp.sum(scaled) + jnp.sum(jnp.square(z / SCALES["prior_stddev"])))

    precision = _curved_parts(X, MEAN, STDDEV)[2]
    np.testing.assert_allclose(precision, -hessian(jnp.array(MEAN)), rtol=1e-10)


def test_gap_is_least_at_the_posterior_covariance(float64):
    """BACK Eq. 19: tr(A Sigma) - log|e Sigma| >= log|A|, with equality at A^-1, its only zero."""
    precision = np.asarray(_curved_parts(X, MEAN, STDDEV)[2])
    best = np.linalg.inv(precision)

    def left_hand_side(sigma):  # = 2 gap + log|A|
        return np.trace(precision @ sigma) - 3 - np.linalg.slogdet(sigma)[1]

    log_det = np.linalg.slogdet(precision)[1]
    np.testing.assert_allclose(left_hand_side(best), log_det, rtol=1e-12)
    np.testing.assert_allclose(_gaps(precision, best)[0], 0.0, atol=1e-13)
    grad = jax.jit(jax.grad(objectives.posterior_gap, 1))
    np.testing.assert_allclose(grad(precision, best), 0.0, atol=1e-10 * np.abs(precision).max())
    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(5):
            mix = np.eye(3) + size * rng.normal(size=(3, 3))
            sigma = mix @ best @ mix.T
            obtained = _gaps(precision, sigma)[0]
            assert obtained > 1e-8
            expected = 0.5 * (left_hand_side(sigma) - log_det)
            np.testing.assert_allclose(obtained, expected, rtol=1e-8, atol=1e-13)
            expected = _kl(np.zeros(3), sigma, np.zeros(3), best)
            np.testing.assert_allclose(obtained, expected, rtol=1e-8, atol=1e-13)
            assert np.abs(grad(precision, sigma)).max() > 1e-3


def test_second_order_is_the_leading_term(float64):
    """BACK Eq. 21: Sigma = A^-1 + t D. The error falls by 8 where t is halved, the term by 4."""
    precision = np.asarray(_curved_parts(X, MEAN, STDDEV)[2])
    direction = np.array([[0.5, 0.2, -0.3], [0.2, 0.4, 0.1], [-0.3, 0.1, 0.8]])
    root = np.linalg.cholesky(np.linalg.inv(precision))

    halvings = 0.08 / 2.0 ** np.arange(5)
    sigmas = [root @ (np.eye(3) + t * direction) @ root.T for t in halvings]
    gaps, leading = np.array([_gaps(precision, sigma) for sigma in sigmas]).T
    # With L L' = A^-1 the excess A Sigma - I is t L'^-1 D L', similar to t D.
    np.testing.assert_allclose(leading, 0.25 * halvings**2 * np.sum(direction**2), rtol=1e-10)
    assert np.all(np.diff(np.abs(gaps / leading - 1.0)) < 0.0)
    assert abs(gaps[-1] / leading[-1] - 1.0) < 0.01
    errors = gaps - leading
    np.testing.assert_allclose(errors[3] / errors[4], 8.0, rtol=0.02)


_penalty = jax.jit(objectives.constant_variance_penalty)


def _precisions(m, count=4):
    factors = np.random.default_rng(m).normal(size=(count, m, m))
    return factors @ factors.swapaxes(1, 2) + np.eye(m)


@pytest.mark.parametrize("m", [1, 3])
def test_penalty_of_a_constant_variance(float64, m):
    """BACK Eq. 22: a mean of KLs from N(0, Sigma) to N(0, A_i^-1), a quarter of tr CV^2."""
    precisions = _precisions(m)
    exact, second_order = _penalty(precisions)
    mean = np.mean(precisions, axis=0)
    zero = np.zeros(m)

    def mean_kl(sigma):
        return np.mean([_kl(zero, sigma, zero, np.linalg.inv(a)) for a in precisions])

    np.testing.assert_allclose(exact, mean_kl(np.linalg.inv(mean)), rtol=1e-10)
    relative = [np.linalg.solve(mean, a - mean) for a in precisions]
    squared_cv = np.mean([np.trace(r @ r) for r in relative])
    np.testing.assert_allclose(second_order, 0.25 * squared_cv, rtol=1e-10)
    if m == 1:
        cv = np.std(precisions) / np.mean(precisions)
        np.testing.assert_allclose(second_order, 0.25 * cv**2, rtol=1e-10)
    # No other constant covariance costs less.
    rng = np.random.default_rng(2)
    for size in (0.01, 0.3):
        for _ in range(5):
            mix = np.eye(m) + size * rng.normal(size=(m, m))
            assert mean_kl(mix @ np.linalg.inv(mean) @ mix.T) > exact


def test_penalty_vanishes_for_equal_precisions(float64):
    alike = np.tile(_precisions(3)[:1], (4, 1, 1))
    penalties = _penalty(alike)
    np.testing.assert_allclose(penalties, 0.0, atol=1e-13)
    penalties = _penalty(alike + 1e-2 * _precisions(3, 4))
    assert min(penalties) > 1e-7


def _finite_and_right(function, expected, *arguments):
    """Value close to `expected`, gradients finite, both in float32."""
    arguments = [jnp.array(argument, jnp.float32) for argument in arguments]
    value, grads = jax.jit(
        jax.value_and_grad(lambda *a: jnp.sum(function(*a)), tuple(range(len(arguments))))
    )(*arguments)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert all(np.isfinite(grad).all() for grad in grads)


SLOPE = np.array([2.0, -1.0, 0.5])


def _line(z):
    """One latent."""
    return jnp.array(SLOPE, jnp.float32) * z


@pytest.mark.parametrize("scale", [1e-8, 1e4])
def test_extremes_are_finite_with_finite_gradients(scale):
    """One latent, and a standard deviation, of posterior or prior, of 1e-8 or 1e4."""
    x, mean = np.array([0.3, -0.4, 1.0]), 0.7
    residual, information = x - SLOPE * mean, SLOPE @ SLOPE / 0.5
    noise = -0.5 * (3 * np.log(2 * np.pi * 0.5) + residual @ residual / 0.5)
    kl = 0.5 * (scale**2 + mean**2 - 1.0) - np.log(scale)

    def elbo(objective):
        return lambda m, s: objective(_line, jnp.array(x, "f4"), m, s, observation_variance=0.5)

    _finite_and_right(
        lambda m, s: elbo(objectives.linearized_elbo)(m, s).value,
        noise - 0.5 * information * scale**2 - kl,
        [mean],
        [scale],
    )
    covariance = np.outer(SLOPE, SLOPE) * scale**2 + 0.5 * np.eye(3)
    density = scipy.stats.multivariate_normal(SLOPE * mean, covariance)
    _finite_and_right(
        lambda m, s: elbo(objectives.sampling_free_elbo)(m, s).value,
        density.logpdf(x) - kl,
        [mean],
        [scale],
    )
    _finite_and_right(
        lambda m, s: objectives.log_evidence(
            _line, jnp.array(x, "f4"), m, observation_variance=0.5, prior_stddev=s
        ),
        noise - 0.5 * (np.log1p(information * scale**2) + (mean / scale) ** 2),
        [mean],
        scale,
    )
    _finite_and_right(
        lambda m, s: objectives.posterior_precision(
            _line, m, observation_variance=0.5, prior_stddev=s
        ),
        information + scale**-2,
        [mean],
        scale,
    )


def test_gradients_of_the_evidence(float64):
    """With respect to decoder, data, mean, observation variance and prior."""

    @jax.jit
    def value(scale, x, mean, variance, prior):
        return objectives.log_evidence(
            lambda z: scale * _curved(z), x, mean, observation_variance=variance, prior_stddev=prior
        )

    arguments = (1.3, X, MEAN, *SCALES.values())
    check_grads(value, jax.tree.map(jnp.array, arguments), order=1, modes=["rev"])


def test_gradients_of_the_gap(float64):
    """In factors of both matrices, which keep them symmetric, and in a diagonal covariance."""

    @jax.jit
    def gaps(factor, other, diagonal):
        precision = factor @ factor.T + jnp.eye(3)
        return (
            objectives.posterior_gap(precision, other @ other.T + jnp.eye(3)),
            objectives.posterior_gap(precision, diagonal),
        )

    rng = np.random.default_rng(3)
    arguments = (rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), STDDEV**2 + 0.1)
    check_grads(gaps, tuple(jnp.array(a) for a in arguments), order=1, modes=["rev"])


def test_vmap_is_a_loop(float64):
    """Every function, mapped over examples with their own mean, stddev and variance."""
    rng = np.random.default_rng(4)
    batch = (
        rng.normal(size=(3, 2, 3)),
        rng.normal(size=(3, 3)),
        rng.uniform(0.1, 2.0, (3, 3)),
        rng.uniform(0.1, 2.0, (3, 2, 3)),
    )

    def everything(x, mean, stddev, variance):
        precision = objectives.posterior_precision(_curved, mean, observation_variance=variance)
        elbo = objectives.linearized_elbo(_curved, x, mean, stddev, observation_variance=variance)
        return (
            objectives.log_evidence(_curved, x, mean, observation_variance=variance),
            elbo,
            elbo.value,
            precision,
            objectives.posterior_gap(precision, jnp.square(stddev)),
            objectives.posterior_gap_second_order(precision, jnp.square(stddev)),
        )

    mapped, one = jax.jit(jax.vmap(everything))(*batch), jax.jit(everything)
    for i in range(3):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-10),
            mapped,
            one(*(part[i] for part in batch)),
        )


_ONE = {"observation_variance": 1.0}


@pytest.mark.parametrize(
    "call",
    {
        "x": lambda x, m: objectives.log_evidence(_linear, x.ravel(), m, **_ONE),
        "x of the ELBO": lambda x, m: objectives.linearized_elbo(_linear, x[0], m, m, **_ONE),
        "stddev": lambda x, m: objectives.linearized_elbo(_linear, x, m, m[:2], **_ONE),
        "mean": lambda x, m: objectives.log_evidence(_linear, x, m[None], **_ONE),
        "prior": lambda x, m: objectives.log_evidence(_linear, x, m, prior_stddev=m[:2], **_ONE),
        "variance [5]": lambda x, m: objectives.log_evidence(
            _linear, x, m, observation_variance=jnp.ones(5)
        ),
        "variance [1]": lambda x, m: objectives.log_evidence(
            _linear, x, m, observation_variance=jnp.ones(1)
        ),
        "variance of x transposed": lambda x, m: objectives.log_evidence(
            _linear, x, m, observation_variance=x.T**2
        ),
        "variance of the ELBO": lambda x, m: objectives.linearized_elbo(
            _linear, x, m, m**2, observation_variance=jnp.ones(1)
        ),
        "variance of the precision": lambda x, m: objectives.posterior_precision(
            _linear, m, observation_variance=jnp.ones(1)
        ),
        "ranks": lambda x, m: objectives.posterior_gap(jnp.ones(3), jnp.ones(3)),
        "covariance [2]": lambda x, m: objectives.posterior_gap(jnp.eye(3), jnp.ones(2)),
        "covariance [1]": lambda x, m: objectives.posterior_gap(jnp.eye(3), jnp.full(1, 0.5)),
        "covariance [1, 1]": lambda x, m: objectives.posterior_gap(jnp.eye(3), jnp.eye(1)),
        "second order": lambda x, m: objectives.posterior_gap_second_order(jnp.eye(3), m[:2]),
        "precisions": lambda x, m: objectives.constant_variance_penalty(jnp.eye(3)),
    }.items(),
    ids=lambda item: item[0],
)
def test_shapes_that_do_not_fit_are_refused(call):
    """With an ArgumentError, as documented, and without a silent broadcast."""
    with pytest.raises(objectives.ArgumentError):
        jax.eval_shape(call[1], jnp.array(X, jnp.float32), jnp.array(MEAN, jnp.float32))
