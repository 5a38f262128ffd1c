"""A dense last layer with an activation: value and gradients against dense NumPy in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sfvae_jax import objectives
from sfvae_jax.training.microbatch import LAYERS_KEPT, tangent_bytes

M, H, N, B = 3, 5, 12, 2  # latents, hidden units, data, examples
VARIANCE = np.linspace(0.2, 2.0, N)


def _arguments():
    """(weights of two layers and a bias, x [B, 3, 4], means and stddevs [B, M])."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(M, H)), rng.normal(size=(H, N)), rng.normal(size=N)
    batch = rng.uniform(size=(B, 3, 4)), rng.normal(size=(B, M)), rng.uniform(0.2, 1.5, (B, M))
    return jax.tree.map(jnp.asarray, (weights, *batch))


def _decoder(weights, dtype=None):
    first, last, bias = (leaf.astype(dtype) for leaf in weights) if dtype else weights
    hidden = lambda z: jnp.tanh(z.astype(first.dtype) @ first)  # noqa: E731
    return objectives.DenseOutput(hidden, last, bias, (3, 4), activation=jax.nn.sigmoid)


def _by_hand(weights, z):
    """The decoder's answer [N] and its Jacobian [N, M]."""
    first, last, bias, z = map(np.asarray, (*weights, z))
    hidden = np.tanh(z @ first)
    mean = 1.0 / (1.0 + np.exp(-(hidden @ last + bias)))
    slopes = mean * (1.0 - mean)
    return mean, slopes[:, None] * (last.T @ ((1.0 - hidden**2)[:, None] * first.T))


def _expected(name, weights, x, mean, stddev, c):
    """NumPy's n x n algebra, without the KL divergence."""
    x, mean, stddev = map(np.asarray, (x, mean, stddev))
    x_hat, jacobian = _by_hand(weights, mean)
    residual, c = x.ravel() - x_hat, np.broadcast_to(c, N)
    constant = -0.5 * np.sum(np.log(2 * np.pi * c))
    independent = constant - 0.5 * residual @ (residual / c)
    if name == "linearized":
        return independent - 0.5 * np.trace(jacobian.T @ (jacobian / c[:, None]) * stddev**2)
    covariance = jacobian * stddev**2 @ jacobian.T + np.diag(c)
    log_det = np.linalg.slogdet(covariance)[1] - np.sum(np.log(c))
    exact = residual @ np.linalg.solve(covariance, residual)
    if name == "sampling_free":  # gamma 0.7, the log determinant by 0.4
        quadratic = 0.7 * exact + 0.3 * residual @ (residual / c)
        return constant - 0.5 * 0.4 * log_det - 0.5 * quadratic
    return independent - 0.5 * log_det - 0.5 * np.sum((mean / stddev) ** 2)


def _sampling_free(decode, x, mean, stddev, **options):
    weights = {"gamma": 0.7, "log_det_weight": 0.4}
    elbo = objectives.sampling_free_elbo(decode, x, mean, stddev, **weights, **options)
    return elbo.log_likelihood


def _linearized(decode, x, mean, stddev, **options):
    return objectives.linearized_elbo(decode, x, mean, stddev, **options).log_likelihood


def _log_evidence(decode, x, mean, stddev, **options):
    return objectives.log_evidence(decode, x, mean, prior_stddev=stddev, **options)


FUNCTIONS = {
    "sampling_free": _sampling_free,
    "linearized": _linearized,
    "log_evidence": _log_evidence,
}


@pytest.mark.parametrize("c", [0.4, VARIANCE], ids=["one", "per element"])
def test_values_and_gradients(float64, c):
    """Of all functions under vmap; gradients in layers, x, posterior, variance by differences."""

    @jax.jit
    def values(weights, x, means, stddevs, c):
        options = {"observation_variance": c}
        ones = [functools.partial(f, _decoder(weights), **options) for f in FUNCTIONS.values()]
        return jnp.stack([jax.vmap(one)(x, means, stddevs) for one in ones])

    arguments = (*_arguments(), jnp.asarray(c))
    expected = [
        [_expected(name, arguments[0], *parts, c) for parts in zip(*arguments[1:4], strict=True)]
        for name in FUNCTIONS
    ]
    np.testing.assert_allclose(values(*arguments), expected, rtol=1e-10)
    check_grads(values, arguments, order=1, modes=["rev"])


def test_precision(float64):
    weights, _, means, stddevs = _arguments()
    precision = jax.jit(
        lambda weights, z, s: objectives.posterior_precision(
            _decoder(weights), z, observation_variance=VARIANCE, prior_stddev=s
        )
    )(weights, means[0], stddevs[0])
    jacobian = _by_hand(weights, means[0])[1]
    expected = np.diag(np.asarray(stddevs[0]) ** -2.0) + jacobian.T @ (jacobian / VARIANCE[:, None])
    np.testing.assert_allclose(precision, expected, rtol=1e-10)


def test_tangents_in_bfloat16():
    """Value to 1%, gradients to 4% of their norm: bfloat16 keeps 8 bits, 0.4% an entry."""
    weights, x, means, stddevs = jax.tree.map(lambda leaf: leaf.astype("float32"), _arguments())

    @functools.partial(jax.jit, static_argnums=1)
    @jax.value_and_grad
    def mean(weights, low):
        tangent_decode = _decoder(weights, jnp.bfloat16) if low else None
        one = functools.partial(
            _sampling_free,
            _decoder(weights),
            observation_variance=0.4,
            tangent_decode=tangent_decode,
        )
        return jnp.mean(jax.vmap(one)(x, means, stddevs))

    (low, low_grads), (full, full_grads) = mean(weights, True), mean(weights, False)
    assert low != full
    np.testing.assert_allclose(low, full, rtol=1e-2)
    for got, want in zip(low_grads, full_grads, strict=True):
        assert got.dtype == jnp.float32
        assert jnp.linalg.norm(got - want) < 4e-2 * jnp.linalg.norm(want)


def test_its_tangents_are_formed_and_counted():
    """Each example has slopes of its own, so that W W' is of no use: see `has_short_form`."""
    layer = functools.partial(objectives.DenseOutput, lambda z: z, jnp.zeros((200, 784)))
    assert objectives.has_short_form(layer(), 200)
    decode = layer(activation=jax.nn.sigmoid)
    assert not objectives.has_short_form(decode, 200)
    assert tangent_bytes(decode, 200) == LAYERS_KEPT * 200 * 784 * 4


def test_several_latents_at_once():
    """A decoder that is called with rows [2, H] instead of being mapped gives a row of each."""
    weights, _, mean, _ = _arguments()
    first, last, _ = weights
    decode = objectives.DenseOutput(lambda z: jnp.tanh(z @ first), last)
    expected = np.stack([decode(z) for z in mean])
    np.testing.assert_allclose(decode(mean), expected, rtol=1e-5, atol=1e-6)
