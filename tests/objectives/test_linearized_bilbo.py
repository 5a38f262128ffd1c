"""The linearised BILBO against NumPy, the mean of `bilbo`, probabilistic PCA, and two devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import make_tiny_config
from jax.test_util import check_grads

from sfvae_jax import likelihoods, objectives
from sfvae_jax.config import resolve
from sfvae_jax.objectives import ArgumentError, Weights
from sfvae_jax.posteriors import Point
from sfvae_jax.training.losses.base import build_loss
from sfvae_jax.training.losses.model_functions import Functions

BATCH, N, M = 4, 5, 2
RNG = np.random.default_rng(0)
X, MEANS = RNG.normal(size=(BATCH, N)), RNG.normal(size=(BATCH, M))
WEIGHTS, SIGMA = RNG.normal(size=(N, M)), np.array([0.3, 1.7])
VARIANCES = {"scalar": np.array(0.4), "per element": np.linspace(0.2, 1.0, N)}


def _decode(weights, z):
    return 2.0 * jnp.tanh(weights @ z)


def _value(means, sigma, weights, x=X, variance=0.4, **options):
    return objectives.linearized_bilbo(
        lambda z: _decode(weights, z), x, means, sigma, observation_variance=variance, **options
    )


def _information(means=MEANS):
    """1/2 log det(I + Sigma^-1 M_B)."""
    scatter = np.diag(np.mean(means**2, axis=0) / SIGMA)
    return 0.5 * np.linalg.slogdet(np.eye(M) + scatter)[1]


def _jacobians():
    """Of every code, [B, n, m]."""
    return 2.0 * (1.0 - np.tanh(MEANS @ WEIGHTS.T) ** 2)[:, :, None] * WEIGHTS


@pytest.mark.parametrize("name", VARIANCES)
def test_it_is_numpys(float64, name):
    c = np.broadcast_to(VARIANCES[name], N)
    obtained = jax.jit(_value)(MEANS, SIGMA, WEIGHTS, X, VARIANCES[name])
    fit = scipy.stats.norm(2.0 * np.tanh(MEANS @ WEIGHTS.T), np.sqrt(c)).logpdf(X).sum(axis=1)
    dense = [np.trace(j.T @ np.diag(1.0 / c) @ j @ np.diag(SIGMA)) for j in _jacobians()]
    np.testing.assert_allclose(obtained, np.mean(fit - 0.5 * np.array(dense)) - _information())


def test_gradients(float64):
    """In codes, Sigma, decoder, data and c, by finite differences."""
    arguments = tuple(jnp.array(a) for a in (MEANS, SIGMA, WEIGHTS, X, 0.4))
    check_grads(jax.jit(_value), arguments, order=1, modes=["rev"])


def test_for_a_linear_decoder_it_is_the_mean_of_bilbo(float64):
    """1,000 draws: value and gradients in codes and decoder within 4 standard errors."""

    def linearized(means, weights):
        return objectives.linearized_bilbo(
            lambda z: weights @ z, X, means, SIGMA, observation_variance=0.4
        )

    def sampled(key, means, weights):
        likelihood = likelihoods.Gaussian(0.4)
        return objectives.bilbo(key, lambda z: weights @ z, X, means, SIGMA, likelihood)

    @jax.jit
    def both(keys):
        exact = jax.value_and_grad(linearized, (0, 1))(MEANS, WEIGHTS)
        draw = jax.value_and_grad(sampled, (1, 2))
        return exact, jax.vmap(draw, (0, None, None))(keys, MEANS, WEIGHTS)

    exact, draws = both(jax.random.split(jax.random.key(0), 1000))
    for value, drawn in zip(jax.tree.leaves(exact), jax.tree.leaves(draws), strict=True):
        error = np.std(drawn, axis=0, ddof=1) / np.sqrt(1000)
        assert np.all(np.abs(np.mean(drawn, axis=0) - value) <= 4 * error + 1e-12)
        assert np.max(error) > 1e-3


def test_its_maximum_for_a_linear_model_is_the_likelihood_of_probabilistic_pca(float64):
    """For any Sigma: with information R - 1 = lambda/c - 1 along each component, and no slope."""
    count, c = 50, 0.3
    x = RNG.normal(size=(count, N)) * [3.0, 2.0, 1.5, 0.3, 0.2]
    covariance = x.T @ x / count  # of data with a known mean of 0
    eigenvalues, vectors = np.linalg.eigh(covariance)
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    top = eigenvalues[:M]
    # Codes k u'x with k^2 lambda / sigma = lambda / c - 1, decoded by w u, w the best regression.
    codes = np.sqrt(SIGMA * (top / c - 1.0) / top)
    readout = codes * top / (codes**2 * top + SIGMA)
    encoder, decoder = codes[:, None] * vectors[:, :M].T, vectors[:, :M] * readout

    def value(encoder, decoder):
        return objectives.linearized_bilbo(
            lambda z: decoder @ z, x, x @ encoder.T, SIGMA, observation_variance=c
        )

    obtained, grads = jax.jit(jax.value_and_grad(value, (0, 1)))(encoder, decoder)
    model = vectors @ np.diag(np.concatenate([top, np.full(N - M, c)])) @ vectors.T
    expected = scipy.stats.multivariate_normal(np.zeros(N), model).logpdf(x).mean()
    np.testing.assert_allclose(obtained, expected, rtol=1e-10)
    for grad in grads:
        np.testing.assert_allclose(grad, 0.0, atol=1e-10)


def test_where_the_scale_of_codes_is_stationary_sigma_is_the_mean_precision(float64):
    """d/d log k of codes k mu decoded as f(z/k): sigma mean J'J/c - M/(sigma + M)."""

    def value(log_scale):
        scale = jnp.exp(log_scale)
        return objectives.linearized_bilbo(
            lambda z: _decode(jnp.array(WEIGHTS), z / scale),
            X,
            MEANS * scale[None],
            SIGMA,
            observation_variance=0.4,
        )

    slope = jax.jit(jax.grad(value))(jnp.zeros(M))
    scatter = np.mean(MEANS**2, axis=0)
    precision = np.mean(np.sum(_jacobians() ** 2, axis=1), axis=0) / 0.4
    np.testing.assert_allclose(slope, SIGMA * precision - scatter / (SIGMA + scatter), rtol=1e-10)


def test_a_latent_whose_codes_and_variance_are_scaled_leaves_it(float64):
    scale = np.array([3.0, 0.2])
    scaled = objectives.linearized_bilbo(
        lambda z: _decode(jnp.array(WEIGHTS), z / scale),
        X,
        MEANS * scale,
        SIGMA * scale**2,
        observation_variance=0.4,
    )
    np.testing.assert_allclose(scaled, _value(MEANS, SIGMA, WEIGHTS), rtol=1e-12)


def test_other_likelihoods(float64):
    """A Gaussian is the same; NumPy's p (1 - p) of Bernoulli logits."""

    def second_order(x, likelihood):
        return objectives.second_order_bilbo(
            lambda z: _decode(jnp.array(WEIGHTS), z), x, MEANS, SIGMA, likelihood
        )

    gaussian = second_order(jnp.array(X), likelihoods.Gaussian(0.4))
    np.testing.assert_allclose(gaussian, _value(MEANS, SIGMA, WEIGHTS), rtol=1e-12)
    binary = (X > 0).astype(float)
    logits = 2.0 * np.tanh(MEANS @ WEIGHTS.T)
    p = 1.0 / (1.0 + np.exp(-logits))
    fit = scipy.stats.bernoulli(p).logpmf(binary).sum(axis=1)
    bend = np.einsum("bn,bnm,m->b", p * (1.0 - p), _jacobians() ** 2, SIGMA)
    obtained = second_order(jnp.array(binary), likelihoods.Bernoulli())
    np.testing.assert_allclose(obtained, np.mean(fit - 0.5 * bend) - _information(), rtol=1e-12)
    with pytest.raises(ArgumentError, match="likelihood must have a method information"):
        second_order(jnp.array(X), 0.4)


def test_two_shares_are_one_batch(float64):
    """Value on each of two devices, and the mean of their gradients."""

    def device(means, x, weights):
        def value(weights):
            return _value(means, SIGMA, weights, x, axis_name="batch")

        return value(weights), jax.lax.pmean(jax.grad(value)(weights), "batch")

    shares = [jnp.array(a).reshape(2, BATCH // 2, -1) for a in (MEANS, X)]
    devices = {"devices": jax.local_devices()[:2], "in_axes": (0, 0, None)}
    values, grads = jax.pmap(device, axis_name="batch", **devices)(*shares, jnp.array(WEIGHTS))
    expected, expected_grad = jax.jit(jax.value_and_grad(_value, 2))(MEANS, SIGMA, WEIGHTS)
    np.testing.assert_allclose(values, [expected, expected], rtol=1e-12)
    for grad in grads:
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-9)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_config_trains_it(likelihood):
    """Under its own posterior variance; the Jacobian is that of `tangent_decode`."""
    names = {"objective.name": "linearized_bilbo", "likelihood.name": likelihood}
    config = resolve(make_tiny_config(**names, **{"posterior.variance": 0.3}))
    assert config.posterior.name == "constant"
    weights, x = jnp.array(WEIGHTS, jnp.float32), jnp.array(X > 0, jnp.float32)

    def loss(tangent_weights):
        functions = Functions(
            encode=lambda x: Point(x[:M]),
            decode=lambda z: _decode(weights, z),
            decoder_params={},
            tangent_decode=lambda z: _decode(tangent_weights, z),
        )
        given = Weights(*jnp.ones(3))
        return build_loss(config, None)(jax.random.key(0), functions, x, given)

    if likelihood == "gaussian":
        variance = config.likelihood.variance
        expected = _value(x[:, :M], 0.3, weights, x, variance)
    else:
        expected = objectives.second_order_bilbo(
            lambda z: _decode(weights, z), x, x[:, :M], 0.3, likelihoods.Bernoulli()
        )
    value, metrics = loss(weights)
    assert metrics == {}
    np.testing.assert_allclose(-value, expected, rtol=1e-6)
    assert abs(loss(1.5 * weights)[0] - value) > 0.01


def test_few_bits_are_summed_in_more():
    arguments = [jnp.asarray(a, jnp.bfloat16) for a in (MEANS, SIGMA, WEIGHTS, X)]
    obtained = _value(*arguments)
    assert obtained.dtype == jnp.float32
    expected = _value(*(jnp.asarray(a, jnp.float32) for a in arguments))
    np.testing.assert_allclose(obtained, expected, rtol=0.02)  # the decoder's own rounding


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": np.ones(3)}, "posterior_variance must be a scalar or have shape"),
        ({"sigma": -1.0}, "posterior_variance must be positive, got -1"),
        ({"means": MEANS[0]}, r"means must have shape \[B, m\]"),
        ({"means": MEANS[:3]}, "x must hold one example for each of the 3 means"),
        ({"x": X[:, :3]}, "x must have shape"),
        ({"variance": np.ones(3)}, "observation_variance must be a scalar or have shape"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"means": MEANS, "sigma": SIGMA, "x": X, "variance": 0.4} | change
    given = {name: jnp.asarray(value, jnp.float32) for name, value in given.items()}
    with pytest.raises(ArgumentError, match=message):
        _value(weights=jnp.array(WEIGHTS, jnp.float32), **given)
