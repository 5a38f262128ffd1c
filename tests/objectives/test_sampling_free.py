"""The Woodbury form against dense n x n Gaussians, the Jacobian against jax.jacfwd."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import HANG, equations
from jax.test_util import check_grads

from sfvae_jax import objectives
from sfvae_jax.objectives import low_rank_gaussian_log_prob

SOLVERS = ("cholesky", "slogdet")

_log_prob = jax.jit(low_rank_gaussian_log_prob, static_argnames="solver")


def factor_with_condition(rng, n, m, condition, largest=1e4):
    """U [n, m] whose U'U has the given condition number and largest eigenvalue."""
    left, _ = np.linalg.qr(rng.normal(size=(n, m)))
    right, _ = np.linalg.qr(rng.normal(size=(m, m)))
    eigenvalues = largest * np.logspace(0, -np.log10(condition), m)
    return left * np.sqrt(eigenvalues) @ right.T


def dense_log_prob(residual, factor, variance, gamma=1.0):
    """Float64 SciPy on the n x n covariance; gamma mixes in the independent quadratic form."""
    n = len(residual)
    covariance = factor @ factor.T + np.diag(np.broadcast_to(variance, n))
    full = scipy.stats.multivariate_normal(np.zeros(n), covariance).logpdf(residual)
    # SFVAE Eq. 21: the inverse covariance is gamma Sigma^-1 + (1 - gamma) (c I)^-1.
    independent = residual @ (residual / variance)
    exact = residual @ np.linalg.solve(covariance, residual)
    return full - 0.5 * (1.0 - gamma) * (independent - exact)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_woodbury_is_the_dense_gaussian_in_float64(float64, solver, condition, gamma):
    rng = np.random.default_rng(int(np.log10(condition)))
    # The largest eigenvalue too, up to the condition: I + U'U/c is then as ill-conditioned as U'U.
    for n, m, largest in ((40, 7, 1e4), (12, 12, 1e4), (9, 1, 1e4), (40, 7, max(condition, 1.0))):
        factor = factor_with_condition(rng, n, m, condition, largest)
        residual = rng.normal(size=n)
        expected = dense_log_prob(residual, factor, 0.5, gamma)
        obtained = _log_prob(residual, factor, 0.5, gamma=gamma, solver=solver)
        np.testing.assert_allclose(obtained, expected, rtol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_variance_per_pixel(float64, solver):
    rng = np.random.default_rng(0)
    factor, residual = rng.normal(size=(20, 4)), rng.normal(size=20)
    variance = rng.uniform(0.1, 3.0, size=20)
    obtained = _log_prob(residual, factor, variance, gamma=0.7, solver=solver)
    expected = dense_log_prob(residual, factor, variance, 0.7)
    np.testing.assert_allclose(obtained, expected, rtol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_float32_keeps_four_digits_to_condition_1e4(solver, condition):
    rng = np.random.default_rng(int(condition))
    factor = factor_with_condition(rng, 200, 30, condition).astype(np.float32)
    residual = rng.normal(size=200).astype(np.float32)
    expected = dense_log_prob(residual.astype(float), factor.astype(float), 0.5)
    obtained = _log_prob(residual, factor, 0.5, solver=solver)
    np.testing.assert_allclose(obtained, expected, rtol=1e-4)


_value_and_grad = jax.jit(jax.value_and_grad(low_rank_gaussian_log_prob, (0, 1)))


@pytest.mark.parametrize("largest", [1e4, 1e8, 1e12])
@pytest.mark.parametrize("condition", [1e6, 1e8, 1e12])
@pytest.mark.parametrize("m", [1, 2, 30])
def test_float32_stays_finite_beyond(largest, condition, m):
    """Value and gradient, also where I + U'U/c is no longer definite in float32."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        factor = factor_with_condition(rng, 200, m, condition, largest).astype(np.float32)
        factor[:, -1] = factor[:, 0]  # and exactly singular
        residual = rng.normal(size=200).astype(np.float32)
        value, grads = _value_and_grad(jnp.array(residual), jnp.array(factor), 0.5)
        assert np.isfinite(value)
        assert all(np.isfinite(grad).all() for grad in grads)


def test_cholesky_is_at_least_as_accurate():
    """Float32 errors of 50 ill-conditioned systems against float64: the mean of the paired
    differences is no more than 2 standard errors above 0, nor the mean error above 2e-2 nats."""
    errors = {solver: [] for solver in SOLVERS}
    for seed in range(50):
        rng = np.random.default_rng(seed)
        factor = factor_with_condition(rng, 100, 20, 1e6, largest=1e6).astype(np.float32)
        residual = rng.normal(size=100).astype(np.float32)
        expected = dense_log_prob(residual.astype(float), factor.astype(float), 0.5)
        for solver in SOLVERS:
            obtained = float(_log_prob(residual, factor, 0.5, solver=solver))
            errors[solver].append(abs(obtained - expected))
    excess = np.subtract(errors["cholesky"], errors["slogdet"])
    assert excess.mean() < 2 * excess.std(ddof=1) / np.sqrt(len(excess))
    assert np.mean(errors["cholesky"]) < 2e-2


def _decode(z):
    """A smooth decoder to a 2 x 3 x 1 "image", with curvature in every direction."""
    weights = jnp.arange(1.0, 19.0).reshape(6, 3) / 10.0
    return jnp.tanh(weights @ z + 0.1 * (z @ z)).reshape(2, 3, 1)


Z = np.array([0.3, -0.7, 0.5])
STDDEV = np.array([0.4, 0.9, 1.3])
X = np.linspace(-1.0, 1.0, 6).reshape(2, 3, 1)


def _elbo(decode, x, stddev, **options):
    """All of the sampling-free ELBO at mean Z, in one program."""

    @jax.jit
    def parts(x, mean, stddev):
        elbo = objectives.sampling_free_elbo(decode, x, mean, stddev, **options)
        return {**vars(elbo), "kl": elbo.kl, "value": elbo.value}

    return jax.device_get(parts(x, Z, stddev))


def test_jacobian_is_jacfwds(float64):
    x_hat, jacobian = jax.jit(lambda z: objectives.decoder_jacobian(_decode, z))(Z)
    assert x_hat.shape == (2, 3, 1)
    assert jacobian.shape == (6, 3)
    expected, slopes = jax.jit(lambda z: (_decode(z), jax.jacfwd(_decode)(z)))(Z)
    np.testing.assert_allclose(x_hat, expected, rtol=1e-12)
    np.testing.assert_allclose(jacobian, slopes.reshape(6, 3), rtol=1e-12)


def test_jacobian_evaluates_the_decoder_once():
    calls = []

    def decode(z):
        jax.debug.callback(lambda: calls.append(1))
        return _decode(z)

    jax.block_until_ready(objectives.decoder_jacobian(decode, jnp.array(Z)))
    jax.effects_barrier()
    assert len(calls) == 1


def test_no_array_of_n_by_n_is_formed():
    """The largest intermediate has n x m elements, by the jaxpr of value and gradient."""
    n, m = 500, 4
    weights = jnp.ones((n, m))

    def value(mean):
        return objectives.sampling_free_elbo(
            lambda z: weights @ z, jnp.zeros(n), mean, jnp.ones(m), observation_variance=0.5
        ).value

    jaxpr = jax.make_jaxpr(jax.grad(value))(jnp.ones(m))
    sizes = [v.aval.size for eqn in equations(jaxpr.jaxpr) for v in eqn.outvars]
    assert max(sizes) == n * m


def test_linear_decoder_in_closed_form(float64):
    """gamma = 1 on x = W z + b: log N(x; f(g), W diag(h) W' + c I) - KL, by SciPy."""
    rng = np.random.default_rng(3)
    weights, offset, x = rng.normal(size=(8, 3)), rng.normal(size=8), rng.normal(size=8)
    elbo = _elbo(
        lambda z: weights @ z + offset, x, STDDEV, observation_variance=0.5, prior_stddev=2.0
    )
    covariance = weights * STDDEV**2 @ weights.T + 0.5 * np.eye(8)
    log_likelihood = scipy.stats.multivariate_normal(weights @ Z + offset, covariance).logpdf(x)
    kl = np.sum(np.log(2.0 / STDDEV) + (STDDEV**2 + Z**2) / 8.0 - 0.5)
    np.testing.assert_allclose(elbo["log_likelihood"], log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(elbo["kl"], kl, rtol=1e-12)
    np.testing.assert_allclose(np.sum(elbo["kl_per_dimension"]), kl, rtol=1e-12)
    np.testing.assert_allclose(elbo["value"], log_likelihood - kl, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_curved_decoder_is_the_dense_gaussian_of_its_linearisation(float64, gamma):
    elbo = _elbo(_decode, X, STDDEV, observation_variance=X**2 + 0.2, gamma=gamma)
    both = jax.jit(lambda z: (_decode(z), jax.jacfwd(_decode)(z)))
    x_hat, slopes = jax.device_get(both(Z))
    factor = np.reshape(slopes, (6, 3)) * STDDEV
    residual = np.ravel(x_hat - X)
    expected = dense_log_prob(residual, factor, (X**2 + 0.2).ravel(), gamma)
    np.testing.assert_allclose(elbo["log_likelihood"], expected, rtol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients(float64, solver):
    """With respect to decoder, data, mean, stddev, variance and gamma, by finite differences."""

    def value(scale, x, mean, stddev, variance, gamma):
        return objectives.sampling_free_elbo(
            lambda z: scale * _decode(z),
            x,
            mean,
            stddev,
            observation_variance=variance,
            gamma=gamma,
            solver=solver,
        ).value

    arguments = (1.3, X, Z, STDDEV, 0.5, 0.7)
    check_grads(
        jax.jit(value), tuple(jnp.array(a) for a in arguments), order=1, modes=["rev", "fwd"]
    )


def test_a_weighted_log_determinant_mixes_two_log_likelihoods(float64):
    """By gamma too: gamma log N(x; f, Sigma) + (1 - gamma) log N(x; f, c I), by SciPy."""
    weighted = {"gamma": 0.3, "log_det_weight": 0.3}
    elbo = _elbo(_decode, X, STDDEV, observation_variance=0.5, **weighted)
    x_hat, slopes = jax.device_get(jax.jit(lambda z: (_decode(z), jax.jacfwd(_decode)(z)))(Z))
    factor, residual = np.reshape(slopes, (6, 3)) * STDDEV, np.ravel(x_hat - X)
    pushed = dense_log_prob(residual, factor, 0.5)
    autoencoder = scipy.stats.norm(0.0, np.sqrt(0.5)).logpdf(residual).sum()
    np.testing.assert_allclose(elbo["log_likelihood"], 0.3 * pushed + 0.7 * autoencoder, rtol=1e-10)
    np.testing.assert_allclose(elbo["value"], elbo["log_likelihood"] - elbo["kl"], rtol=1e-12)


def test_no_noise_no_variance_is_the_autoencoder(float64):
    """As stddev -> 0 the likelihood is that of the reconstruction alone."""
    elbo = _elbo(_decode, X, np.full(3, 1e-9), observation_variance=0.5)
    expected = scipy.stats.norm(jax.jit(_decode)(Z), np.sqrt(0.5)).logpdf(X).sum()
    np.testing.assert_allclose(elbo["log_likelihood"], expected, rtol=1e-12)


@pytest.mark.parametrize("stddev", [1e-8, 1e4])
def test_extreme_stddev_is_finite_with_finite_gradients(stddev):
    def value(mean, stddev):
        return objectives.sampling_free_elbo(
            _decode, jnp.array(X, jnp.float32), mean, stddev, observation_variance=0.5
        ).value

    value, grads = jax.jit(jax.value_and_grad(value, (0, 1)))(
        jnp.array(Z, jnp.float32), jnp.full(3, stddev, jnp.float32)
    )
    assert np.isfinite(value)
    assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["cholesky", "slogdet"])
def test_large_batches_on_two_cpu_devices_do_not_hang(solver):
    """Batched LAPACK calls of jaxlib 0.10 wait for each other when they outnumber the threads."""
    script = f"""
import jax, jax.numpy as jnp
from sfvae_jax.objectives import low_rank_gaussian_log_prob as log_prob
def total(factor):
    one = lambda u: log_prob(jnp.ones(150), u, 0.5, solver={solver!r})
    return sum(jnp.sum(jax.vmap(one)(scale * factor)) for scale in (1.0, 2.0, 3.0))
step = jax.pmap(jax.value_and_grad(total))
factor = jax.random.normal(jax.random.key(0), (2, 32, 150, 128)) / 10.0
for _ in range(10):
    jax.block_until_ready(step(factor))
"""
    threads = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=HANG, env=threads)


def test_second_derivatives(float64):
    """The custom rule differentiates again: the Hessian in the factor, by finite differences."""

    def value(factor):
        return low_rank_gaussian_log_prob(jnp.array([1.0, -0.5, 0.3]), factor, 0.5, gamma=0.8)

    check_grads(jax.jit(value), (jnp.array([[0.5, 1.0], [-0.3, 0.2], [0.9, 0.1]]),), order=2)


def test_bad_arguments_are_refused():
    factor, residual = jnp.ones((4, 2)), jnp.ones(4)
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\], got 1.5"):
        low_rank_gaussian_log_prob(residual, factor, 0.5, gamma=1.5)
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\]"):
        low_rank_gaussian_log_prob(residual, factor, 0.5, gamma=np.float32(2.0))
    with pytest.raises(objectives.ArgumentError):
        low_rank_gaussian_log_prob(residual, factor, jnp.ones(2))
    with pytest.raises(ValueError, match="unknown solver 'lu'; expected one of cholesky, slogdet"):
        low_rank_gaussian_log_prob(residual, factor, 0.5, solver="lu")
    with pytest.raises(objectives.ArgumentError):
        low_rank_gaussian_log_prob(jnp.ones(3), factor, 0.5)
    with pytest.raises(objectives.ArgumentError):
        objectives.sampling_free_elbo(
            _decode, jnp.zeros(6), jnp.array(Z), jnp.array(STDDEV), observation_variance=0.5
        )
    arguments = _decode, jnp.array(X), jnp.array(Z), jnp.array(STDDEV)
    with pytest.raises(objectives.ArgumentError, match="log_det_weight must not be negative"):
        objectives.sampling_free_elbo(*arguments, observation_variance=0.5, log_det_weight=-1.0)
