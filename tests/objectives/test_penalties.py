"""Penalties on a decoder's Jacobian and kernels against NumPy, closed forms and PyTorch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from small_decoders import WEIGHTS, Z, curved, linear

from sfvae_jax import objectives
from sfvae_jax.objectives import ArgumentError


def test_penalties_of_a_decoder_of_two_outputs(float64):
    """Both Jacobians count, in the exact penalty and in the probes of orthogonal columns."""
    columns = np.linalg.qr(WEIGHTS)[0] * np.array([3.0, 1.0, 0.2])

    def pair(z):
        out = jnp.array(columns) @ z
        return out[:4].reshape(2, 2), {"values": out[4:]}

    @jax.jit
    def penalties(z):
        probed = objectives.hutchinson_gradient_penalty(jax.random.key(0), pair, z)
        return objectives.gradient_penalty(pair, z), probed

    np.testing.assert_allclose(penalties(jnp.array(Z)), 9.0 + 1.0 + 0.04, rtol=1e-12)


def test_squared_norm():
    assert objectives.squared_norm({"a": jnp.array([[1.0, 2.0]]), "b": [jnp.array(-3.0)]}) == 14


def test_gradient_penalty_is_the_norm_of_the_whole_jacobian(float64):
    """For a batch; not the gradient of the sum of outputs, which cancels across them."""
    z = np.random.default_rng(1).normal(size=(4, 3))

    @jax.jit
    @jax.vmap
    def both(z):
        return objectives.gradient_penalty(curved, z), jax.jacfwd(curved)(z)

    obtained, jacobian = jax.device_get(both(jnp.array(z)))
    jacobian = jacobian.reshape(4, 6, 3)
    np.testing.assert_allclose(obtained, np.sum(jacobian**2, axis=(1, 2)), rtol=1e-12)
    of_the_sum = np.sum(jacobian.sum(axis=1) ** 2, axis=1)
    assert np.all(np.abs(obtained / of_the_sum - 1.0) > 0.1)
    with pytest.raises(ArgumentError):
        objectives.gradient_penalty(curved, jnp.array(z))


@pytest.mark.parametrize("num_probes", [None, 2])
def test_penalties_differentiate_in_the_decoder(float64, num_probes):
    """Both of them, in its weights and in the latent, by finite differences."""

    @jax.jit
    def penalty(weights, z):
        if num_probes is None:
            return objectives.gradient_penalty(lambda z: curved(z, weights), z)
        return objectives.hutchinson_gradient_penalty(
            jax.random.key(0), lambda z: curved(z, weights), z, num_probes=num_probes
        )

    check_grads(penalty, (jnp.array(WEIGHTS), jnp.array(Z)), order=1, modes=["rev"])


@pytest.mark.parametrize("num_probes", [1, 16])
def test_hutchinson_is_unbiased(keys, num_probes):
    """4,000 draws: the mean within 4 standard errors, the deviation that of Rademacher probes.

    Var u'Au = 2 sum_{i != j} A_ij^2, A = J'J, divided by k; a deviation of 4,000 draws is known to
    1.1 %, a kurtosis of 3 being an upper bound here.
    """
    z = jnp.array(Z, jnp.float32)

    def penalty(key):
        return objectives.hutchinson_gradient_penalty(key, curved, z, num_probes=num_probes)

    draws = jax.device_get(jax.jit(jax.vmap(penalty))(jax.random.split(next(keys), 4000)))
    jacobian = np.asarray(jax.jit(jax.jacfwd(curved))(z)).reshape(6, 3)
    gram = jacobian.T @ jacobian
    deviation = np.sqrt(2.0 * (np.sum(gram**2) - np.sum(np.diag(gram) ** 2)) / num_probes)
    assert abs(np.mean(draws) - np.trace(gram)) < 4 * deviation / np.sqrt(4000)
    np.testing.assert_allclose(np.std(draws), deviation, rtol=0.045)
    # The error bar is not a wide one.
    assert 4 * deviation / np.sqrt(4000) < 0.05 * np.trace(gram)


def test_hutchinson_probes_are_signs_of_the_latent(float64):
    """One probe gives one of the 4 values of |J u|^2, up to the sign of u; all of them occur."""
    keys = jax.random.split(jax.random.key(0), 50)
    draws = jax.jit(
        jax.vmap(lambda key: objectives.hutchinson_gradient_penalty(key, linear, jnp.array(Z)))
    )(keys)
    signs = np.array([(1, *rest) for rest in itertools.product((-1, 1), repeat=2)])
    expected = np.sum((signs @ WEIGHTS.T) ** 2, axis=1)
    nearest = np.abs(np.asarray(draws)[:, None] - expected)
    np.testing.assert_allclose(nearest.min(axis=1), 0.0, atol=1e-12)
    assert set(nearest.argmin(axis=1)) == {0, 1, 2, 3}


def test_hutchinson_is_exact_for_orthogonal_columns(float64):
    columns = np.linalg.qr(WEIGHTS)[0] * np.array([3.0, 1.0, 0.2])

    def penalty(key):
        return objectives.hutchinson_gradient_penalty(
            key, lambda z: jnp.array(columns) @ z, jnp.array(Z)
        )

    draws = jax.jit(jax.vmap(penalty))(jax.random.split(jax.random.key(0), 10))
    np.testing.assert_allclose(draws, 9.0 + 1.0 + 0.04, rtol=1e-12)


def test_hutchinson_without_probes_is_refused():
    with pytest.raises(ValueError, match="num_probes must be at least 1, got 0"):
        objectives.hutchinson_gradient_penalty(
            jax.random.key(0), linear, jnp.array(Z), num_probes=0
        )


def _kernel(*shape, seed=0):
    """A random kernel with the singular values 3, 1, 0.9, ... of its matrix [fan_in, out]."""
    rng = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(
        rng.normal(size=(np.prod(shape[:-1]), shape[-1])), full_matrices=False
    )
    values = np.array([3.0, *np.linspace(1.0, 0.5, len(right) - 1)])
    return (left * values @ right).reshape(shape)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 1), (3, 2, 2, 3)])
def test_spectral_norm_is_the_largest_singular_value(float64, shape):
    """By SVD, of dense and convolution kernels; its gradient is v u', u going on unchanged."""
    kernel = _kernel(*shape)
    left, values, right = np.linalg.svd(kernel.reshape(-1, shape[-1]), full_matrices=False)

    def norm(kernel, vector):
        return objectives.spectral_norm(kernel, vector, num_iterations=20)

    start = jnp.array(np.random.default_rng(1).normal(size=shape[-1]))
    both = jax.jit(jax.value_and_grad(norm, has_aux=True))
    (obtained, vector), grad = jax.device_get(both(jnp.array(kernel), start))
    np.testing.assert_allclose(obtained, values[0], rtol=1e-12)
    np.testing.assert_allclose(np.abs(right[0] @ vector), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(vector), 1.0, rtol=1e-12)
    expected = np.outer(left[:, 0], right[0]).reshape(shape)
    np.testing.assert_allclose(grad, expected, atol=1e-9)


def test_a_carried_vector_converges_with_one_iteration_a_call(float64):
    """Ten calls are one of ten iterations; also while the kernel moves; and no gradient in u."""
    kernel, one = jnp.array(_kernel(6, 4)), jax.jit(objectives.spectral_norm)
    vector = start = jnp.array([1.0, -0.5, 0.2, 0.3])
    norms = []
    for _ in range(10):
        norm, vector = one(kernel, vector)
        norms.append(float(norm))
    together = jax.jit(lambda kernel: objectives.spectral_norm(kernel, start, num_iterations=10))(
        kernel
    )
    np.testing.assert_allclose(norms[-1], together[0], rtol=1e-14)
    np.testing.assert_allclose(vector, together[1], rtol=1e-12)
    errors = 3.0 - np.array(norms)
    assert errors[0] > 1e-3
    assert np.all(np.diff(errors) <= 1e-12)
    np.testing.assert_allclose(errors[-1], 0.0, atol=1e-9)

    def moving(kernel, vector):
        return one(kernel, vector)[0]

    np.testing.assert_array_equal(jax.jit(jax.grad(moving, 1))(kernel, start), 0.0)
    drift = np.random.default_rng(2).normal(size=(6, 4))
    for step in range(20):
        moved = np.asarray(kernel) + 0.01 * step * drift
        norm, vector = one(jnp.array(moved), vector)
    np.testing.assert_allclose(norm, np.linalg.norm(moved, 2), rtol=1e-3)


@pytest.mark.parametrize("shape", [(6, 4), (3, 3, 2, 5)])
def test_a_normalised_kernel_is_torchs(float64, shape):
    """W / s(W), and the gradient through it, of a linear layer and of a convolution."""
    torch = pytest.importorskip("torch")
    kernel, cotangent = _kernel(*shape), np.random.default_rng(3).normal(size=shape)
    axes = (1, 0) if len(shape) == 2 else (3, 2, 0, 1)
    if len(shape) == 2:
        layer = torch.nn.Linear(6, 4, dtype=torch.float64)
    else:
        layer = torch.nn.Conv2d(2, 5, 3, dtype=torch.float64)
    layer.weight.data = torch.tensor(kernel.transpose(axes).copy())
    layer = torch.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=20)
    torch.sum(layer.weight * torch.tensor(cotangent.transpose(axes).copy())).backward()
    back = np.argsort(axes)

    def normalised(kernel):
        start = jnp.ones(shape[-1])
        whole = kernel / objectives.spectral_norm(kernel, start, num_iterations=20)[0]
        return jnp.sum(whole * jnp.array(cotangent)), whole

    grad, whole = jax.jit(jax.grad(normalised, has_aux=True))(jnp.array(kernel))
    expected = layer.weight.detach().numpy().transpose(back)
    np.testing.assert_allclose(whole, expected, rtol=1e-9)
    expected = layer.parametrizations.weight.original.grad.numpy().transpose(back)
    np.testing.assert_allclose(grad, expected, atol=1e-8)


def test_spectral_norm_of_a_zero_kernel():
    """Zero without nan, and zero gradients rather than nan."""
    both = jax.jit(jax.value_and_grad(objectives.spectral_norm, has_aux=True))
    (norm, vector), grad = both(jnp.zeros((3, 2)), jnp.array([0.6, 0.8]))
    assert norm == 0.0
    assert np.all(np.isfinite(vector))
    assert np.all(np.isfinite(grad))


def test_the_vector_goes_on_from_a_zero_kernel():
    """One step at zero, as with a zero initialisation, must not lose the later norms."""
    kernel = jnp.array(_kernel(6, 4), jnp.float32)
    one, vector = jax.jit(objectives.spectral_norm), jnp.array([1.0, -0.5, 0.2, 0.3])
    _, vector = one(jnp.zeros((6, 4)), vector)
    for _ in range(10):
        norm, vector = one(kernel, vector)
    np.testing.assert_allclose(norm, 3.0, rtol=1e-4)


def test_bad_arguments_of_the_spectral_norm_are_refused():
    with pytest.raises(ValueError, match="num_iterations must be at least 1, got 0"):
        objectives.spectral_norm(jnp.ones((3, 2)), jnp.ones(2), num_iterations=0)
    with pytest.raises(ArgumentError):
        objectives.spectral_norm(jnp.ones((3, 2)), jnp.ones(3))
