"""The linearised ELBOs of a posterior N(mean, L L'), against dense float64 NumPy and SciPy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from sfvae_jax import likelihoods, objectives, posteriors

RNG = np.random.default_rng(0)
N, M, H = 7, 3, 5
INNER, WEIGHTS, OFFSET = RNG.normal(size=(M, H)), RNG.normal(size=(H, N)), RNG.normal(size=N)
X, MEAN = RNG.normal(size=N), np.array([0.4, -0.7, 0.2])
FACTOR = np.array([[0.5, 0.0, 0.0], [-0.9, 0.7, 0.0], [0.3, 0.6, 0.2]])
SIGMA, PRIOR = FACTOR @ FACTOR.T, np.array([0.6, 1.0, 2.5])
VARIANCES = {"scalar": 0.5, "per element": RNG.uniform(0.1, 2.0, N)}


def _decode(z):
    hidden = jnp.tanh(z @ jnp.array(INNER, z.dtype))
    return hidden @ jnp.array(WEIGHTS, z.dtype) + jnp.array(OFFSET, z.dtype)


def _dense():
    """The same decoder in a form whose Jacobian is not formed."""
    kernel, bias = jnp.array(WEIGHTS), jnp.array(OFFSET)
    return objectives.DenseOutput(lambda z: jnp.tanh(z @ jnp.array(INNER)), kernel, bias)


def _posterior(mean=MEAN, factor=FACTOR):
    return posteriors.FullCovarianceGaussian(jnp.array(mean), jnp.array(factor))


def _jacobian(mean=MEAN):
    hidden = np.tanh(mean @ INNER)
    return hidden @ WEIGHTS + OFFSET, ((1 - hidden**2) * INNER @ WEIGHTS).T


def _divergence():
    """KL(N(mean, Sigma) || N(0, S^2)) from dense matrices, and the entropy."""
    precision = np.diag(PRIOR**-2.0)
    log_ratio = np.linalg.slogdet(SIGMA)[1] - 2 * np.log(PRIOR).sum()
    kl = 0.5 * (np.trace(precision @ SIGMA) + MEAN @ precision @ MEAN - M - log_ratio)
    return kl, scipy.stats.multivariate_normal(MEAN, SIGMA).entropy()


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("dense_output", [False, True])
def test_both_elbos_are_those_of_dense_matrices(float64, dense_output, variance):
    c = np.broadcast_to(VARIANCES[variance], N)
    x_hat, jacobian = _jacobian()
    pushed = jacobian @ SIGMA @ jacobian.T
    free = scipy.stats.multivariate_normal(x_hat, pushed + np.diag(c)).logpdf(X)
    residual = X - x_hat
    quadratic = residual @ (residual / c)
    quadratic -= residual @ np.linalg.solve(pushed + np.diag(c), residual)
    expected_free = free - 0.5 * (1 - 0.7) * quadratic
    linearized = scipy.stats.norm(x_hat, np.sqrt(c)).logpdf(X).sum()
    linearized -= 0.5 * np.trace(pushed / c[:, None])
    decode = _dense() if dense_output else _decode

    @jax.jit
    def both(x, posterior):
        scales = {"observation_variance": VARIANCES[variance], "prior_stddev": PRIOR}
        elbos = (
            objectives.sampling_free_elbo(decode, x, posterior, gamma=0.7, **scales),
            objectives.linearized_elbo(decode, x, posterior, **scales),
        )
        return [(elbo.log_likelihood, elbo.kl, elbo.entropy, elbo.value) for elbo in elbos]

    kl, entropy = _divergence()
    results = jax.device_get(both(X, _posterior()))
    for found, log_likelihood in zip(results, (expected_free, linearized), strict=True):
        expected = [log_likelihood, kl, entropy, log_likelihood - kl]
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_diagonal_factor_is_the_diagonal_posterior(float64):
    """Value and gradients in mean and deviations of all three, also with a Gaussian object."""
    stddev = jnp.array([0.5, 1.2, 0.05])
    bernoulli = likelihoods.Bernoulli()

    def total(elbos):
        return jnp.stack([elbo.value for elbo in elbos])

    def by_arrays(mean, stddev):
        return total(
            (
                objectives.sampling_free_elbo(_decode, X, mean, stddev, observation_variance=0.5),
                objectives.linearized_elbo(_decode, X, mean, stddev, observation_variance=0.5),
                objectives.second_order_elbo(_decode, X, mean, stddev, bernoulli),
            )
        )

    def by_posterior(posterior):
        return total(
            (
                objectives.sampling_free_elbo(_decode, X, posterior, observation_variance=0.5),
                objectives.linearized_elbo(_decode, X, posterior, observation_variance=0.5),
                objectives.second_order_elbo(_decode, X, posterior, likelihood=bernoulli),
            )
        )

    def by_diagonal(mean, stddev):
        return by_posterior(posteriors.DiagonalGaussian(mean, stddev))

    def by_full(mean, stddev):
        return by_posterior(posteriors.FullCovarianceGaussian(mean, jnp.diag(stddev)))

    @jax.jit
    def look(mean, stddev):
        ways = (by_arrays, by_diagonal, by_full)
        return [(way(mean, stddev), jax.jacrev(way, (0, 1))(mean, stddev)) for way in ways]

    first, *others = jax.device_get(look(jnp.array(MEAN), stddev))
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), other, first)


def test_second_order_is_the_trace_with_the_information(float64):
    """Of a Bernoulli: log p(x | theta) - 1/2 tr(J' diag(p (1 - p)) J Sigma)."""
    logits, jacobian = _jacobian()
    x, p = (X > 0).astype(float), 1 / (1 + np.exp(-logits))
    expected = scipy.stats.bernoulli(p).logpmf(x).sum()
    expected -= 0.5 * np.trace(jacobian.T @ (jacobian * (p * (1 - p))[:, None]) @ SIGMA)
    found = jax.jit(
        lambda x, q: objectives.second_order_elbo(_decode, x, q, likelihood=likelihoods.Bernoulli())
    )(x, _posterior())
    np.testing.assert_allclose(found.log_likelihood, expected, rtol=1e-10)
    assert found.kl_per_dimension is None


def test_probes_follow_the_covariance(float64):
    """4,000 keys: within 4 standard errors of all m tangents, and the variance is that of signs."""
    scale = {"observation_variance": 0.5}

    @jax.jit
    def look(keys, posterior):
        def probed(key):
            given = {"num_probes": 1, "rng": key}
            elbo = objectives.linearized_elbo(_decode, jnp.array(X), posterior, **scale, **given)
            return elbo.log_likelihood

        whole = objectives.linearized_elbo(_decode, jnp.array(X), posterior, **scale)
        return jax.vmap(probed)(keys), whole.log_likelihood

    draws, expected = jax.device_get(look(jax.random.split(jax.random.key(0), 4000), _posterior()))
    assert abs(draws.mean() - expected) < 4 * draws.std() / np.sqrt(4000)
    pushed = _jacobian()[1] @ FACTOR
    of_pairs = np.tril(pushed.T @ pushed / 0.5, -1)
    np.testing.assert_allclose(draws.var(), np.sum(of_pairs**2), rtol=0.1)


def test_gradients(float64):
    """In decoder, mean and factor, by finite differences."""

    def value(scale, mean, factor):
        posterior = posteriors.FullCovarianceGaussian(mean, factor)
        arguments = (lambda z: scale * _decode(z), jnp.array(X), posterior)
        free = objectives.sampling_free_elbo(*arguments, observation_variance=0.5, gamma=0.7)
        return free.value + objectives.linearized_elbo(*arguments, observation_variance=0.5).value

    check_grads(jax.jit(value), (1.3, jnp.array(MEAN), jnp.array(FACTOR)), order=1, modes=["rev"])


def test_a_posterior_that_is_narrow_across_a_steep_direction_keeps_its_digits():
    """Float32: G = J'J/c has an eigenvalue of 1e6 along v, and L L' = (I + G)^-1.

    U = J L has an entry of size 1 from factors of 1e3; L'GL from G itself would be off by 6e-2.
    """
    v = np.array([0.6, -0.48, 0.64])
    sigma = np.linalg.inv(np.eye(3) + 1e6 * np.outer(v, v))
    factor, x = np.linalg.cholesky(sigma).astype(np.float32), np.zeros(2, np.float32)
    rows = np.stack([1e3 * v, np.zeros(3)]).astype(np.float32)
    posterior = posteriors.FullCovarianceGaussian(jnp.zeros(3), jnp.array(factor))
    found = jax.jit(
        lambda q: (
            objectives.sampling_free_elbo(
                lambda z: jnp.array(rows) @ z, jnp.array(x), q, observation_variance=1.0
            ).log_likelihood
        )
    )(posterior)
    pushed = rows.astype(float) @ sigma @ rows.T.astype(float)
    expected = scipy.stats.multivariate_normal(np.zeros(2), pushed + np.eye(2)).logpdf(x)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_bfloat16_inputs_are_summed_in_float32():
    """The three ELBOs of rounded inputs, against the same in float64 of the rounded numbers."""
    narrow = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (jnp.array(X), _posterior()))

    @jax.jit
    def values(x, posterior):
        # The decoder is exact in few bits: it copies the latents, with signs.
        decode = lambda z: jnp.concatenate([z, -z, z[:1]])  # noqa: E731
        gaussian = likelihoods.Gaussian(0.5)
        return [
            objectives.sampling_free_elbo(decode, x, posterior, observation_variance=0.5).value,
            objectives.linearized_elbo(decode, x, posterior, observation_variance=0.5).value,
            objectives.second_order_elbo(decode, x, posterior, likelihood=gaussian).value,
        ]

    found = values(*narrow)
    assert all(value.dtype == jnp.float32 for value in found)
    expected = values(*jax.tree.map(lambda a: a.astype(jnp.float32), narrow))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_batch_of_full_covariances_by_name():
    """The loss is minus the mean ELBO; free bits are a floor under the whole KL divergence."""
    factors = jnp.array(np.stack([FACTOR, 0.5 * FACTOR]), jnp.float32)
    means = jnp.array(np.stack([MEAN, -MEAN]), jnp.float32)
    batch = posteriors.FullCovarianceGaussian(means, factors)
    x = jnp.array(np.stack([X, X + 1.0]), jnp.float32)

    def loss(name, **options):
        likelihood = likelihoods.Gaussian(0.5)
        arguments = (jax.random.key(0), _decode, x, batch, likelihood)
        return objectives.batch_loss(name, *arguments, **options)

    @jax.jit
    def look():
        scale = {"observation_variance": 0.5}
        free = jax.vmap(lambda x, q: objectives.sampling_free_elbo(_decode, x, q, **scale).value)
        elbo = jax.vmap(lambda x, q: objectives.linearized_elbo(_decode, x, q, **scale).value)
        own = -jnp.mean(free(x, batch)), -jnp.mean(elbo(x, batch))
        return own, (loss("sampling_free", gamma=1.0), loss("linearized", free_bits=50.0))

    (free, elbo), ((by_name, _), (floored, metrics)) = jax.device_get(look())
    np.testing.assert_allclose(by_name, free, rtol=1e-5)
    np.testing.assert_allclose(floored, 50.0 - metrics["log_likelihood"], rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"] - metrics["log_likelihood"], elbo, rtol=1e-5)


@pytest.mark.parametrize(
    ("mean", "stddev", "message"),
    [
        (_posterior(), jnp.ones(M), "stddev must be left out beside a FullCovarianceGaussian"),
        (jnp.array(MEAN), None, "stddev must be given beside a mean; or give one argument"),
        (
            posteriors.Point(jnp.array(MEAN)),
            None,
            "posterior must have a method deviation, as posteriors.FullCovarianceGaussian",
        ),
        (_posterior(factor=np.ones((2, 2))), None, "scale_tril must have shape (3, 3)"),
        (_posterior(np.ones((4, M))), None, "mean must have shape [m], got shape (4, 3)"),
    ],
)
def test_what_is_no_gaussian_posterior_is_refused(mean, stddev, message):
    for function in (objectives.sampling_free_elbo, objectives.linearized_elbo):
        with pytest.raises(objectives.ArgumentError, match=re.escape(message)):
            function(_decode, jnp.array(X), mean, stddev, observation_variance=0.5)
