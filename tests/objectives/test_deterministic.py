"""Losses of deterministic autoencoders against NumPy, closed forms and PyTorch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from sfvae_jax.likelihoods import Gaussian
from sfvae_jax.objectives import ArgumentError, deterministic

WEIGHTS = np.random.default_rng(0).normal(size=(6, 3))
Z = np.array([0.3, -0.7, 0.5])
X = np.linspace(-1.0, 1.5, 6).reshape(2, 3, 1)


def _linear(z):
    return (jnp.array(WEIGHTS, z.dtype) @ z).reshape(2, 3, 1)


def _curved(z, weights=WEIGHTS):
    """A smooth decoder to a 2 x 3 x 1 "image"."""
    return jnp.tanh(jnp.asarray(weights, z.dtype) @ z + 0.1 * (z @ z)).reshape(2, 3, 1)


def test_squared_error_and_rae_loss():
    """Errors of 0, 2, 1 and 5; |z|^2 = 5."""
    x, z = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1.0, 2.0])

    def decode(z):
        return jnp.array([[z[0], 0.0], [z[1], -1.0]])

    @jax.jit
    def losses(x, z):
        options = {"beta": 0.5, "penalty": 3.0}, {"beta": 0.5}, {"beta": 0.0}
        rae = [deterministic.rae_loss(decode, x, z, **option) for option in options]
        return [deterministic.squared_error(decode, x, z), *rae]

    assert losses(x, z) == [30.0, 34.25, 31.25, 30.0]
    for loss in (deterministic.squared_error, lambda *a: deterministic.rae_loss(*a, beta=1.0)):
        with pytest.raises(ArgumentError):
            loss(decode, jnp.ones(2), z)  # which would broadcast
        with pytest.raises(ArgumentError):
            loss(decode, x, z[None])


def test_rae_loss_in_nats(float64):
    """-log N by SciPy for the squared error; of variance 1/2 they differ by a constant."""
    likelihood, options = Gaussian(0.5), {"beta": 0.5, "penalty": 3.0}

    @jax.jit
    def losses(x, z):
        nats = deterministic.rae_loss(_linear, x, z, likelihood=likelihood, **options)
        return nats, deterministic.rae_loss(_linear, x, z, **options)

    nats, squares = losses(jnp.array(X), jnp.array(Z))
    density = scipy.stats.norm(WEIGHTS @ Z, np.sqrt(0.5)).logpdf(X.ravel()).sum()
    np.testing.assert_allclose(nats, -density + 0.25 * Z @ Z + 3.0, rtol=1e-12)
    np.testing.assert_allclose(nats - squares, 3.0 * np.log(np.pi), rtol=1e-12)
    with pytest.raises(ArgumentError):
        deterministic.rae_loss(_linear, X, Z[None], beta=1.0, likelihood=likelihood)


def test_penalties_of_a_decoder_of_two_outputs(float64):
    """Both Jacobians count, in the exact penalty and in the probes of orthogonal columns."""
    columns = np.linalg.qr(WEIGHTS)[0] * np.array([3.0, 1.0, 0.2])

    def pair(z):
        out = jnp.array(columns) @ z
        return out[:4].reshape(2, 2), {"values": out[4:]}

    @jax.jit
    def penalties(z):
        probed = deterministic.hutchinson_gradient_penalty(jax.random.key(0), pair, z)
        return deterministic.gradient_penalty(pair, z), probed

    np.testing.assert_allclose(penalties(jnp.array(Z)), 9.0 + 1.0 + 0.04, rtol=1e-12)


def test_squared_norm():
    assert deterministic.squared_norm({"a": jnp.array([[1.0, 2.0]]), "b": [jnp.array(-3.0)]}) == 14


def test_gradient_penalty_is_the_norm_of_the_whole_jacobian(float64):
    """For a batch; not the gradient of the sum of outputs, which cancels across them."""
    z = np.random.default_rng(1).normal(size=(4, 3))

    @jax.jit
    @jax.vmap
    def both(z):
        return deterministic.gradient_penalty(_curved, z), jax.jacfwd(_curved)(z)

    obtained, jacobian = jax.device_get(both(jnp.array(z)))
    jacobian = jacobian.reshape(4, 6, 3)
    np.testing.assert_allclose(obtained, np.sum(jacobian**2, axis=(1, 2)), rtol=1e-12)
    of_the_sum = np.sum(jacobian.sum(axis=1) ** 2, axis=1)
    assert np.all(np.abs(obtained / of_the_sum - 1.0) > 0.1)
    with pytest.raises(ArgumentError):
        deterministic.gradient_penalty(_curved, jnp.array(z))


@pytest.mark.parametrize("num_probes", [None, 2])
def test_penalties_differentiate_in_the_decoder(float64, num_probes):
    """Both of them, in its weights and in the latent, by finite differences."""

    @jax.jit
    def penalty(weights, z):
        if num_probes is None:
            return deterministic.gradient_penalty(lambda z: _curved(z, weights), z)
        return deterministic.hutchinson_gradient_penalty(
            jax.random.key(0), lambda z: _curved(z, weights), z, num_probes=num_probes
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
        return deterministic.hutchinson_gradient_penalty(key, _curved, z, num_probes=num_probes)

    draws = jax.device_get(jax.jit(jax.vmap(penalty))(jax.random.split(next(keys), 4000)))
    jacobian = np.asarray(jax.jit(jax.jacfwd(_curved))(z)).reshape(6, 3)
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
        jax.vmap(lambda key: deterministic.hutchinson_gradient_penalty(key, _linear, jnp.array(Z)))
    )(keys)
    signs = np.array([(1, *rest) for rest in itertools.product((-1, 1), repeat=2)])
    expected = np.sum((signs @ WEIGHTS.T) ** 2, axis=1)
    nearest = np.abs(np.asarray(draws)[:, None] - expected)
    np.testing.assert_allclose(nearest.min(axis=1), 0.0, atol=1e-12)
    assert set(nearest.argmin(axis=1)) == {0, 1, 2, 3}


def test_hutchinson_is_exact_for_orthogonal_columns(float64):
    columns = np.linalg.qr(WEIGHTS)[0] * np.array([3.0, 1.0, 0.2])

    def penalty(key):
        return deterministic.hutchinson_gradient_penalty(
            key, lambda z: jnp.array(columns) @ z, jnp.array(Z)
        )

    draws = jax.jit(jax.vmap(penalty))(jax.random.split(jax.random.key(0), 10))
    np.testing.assert_allclose(draws, 9.0 + 1.0 + 0.04, rtol=1e-12)


def test_hutchinson_without_probes_is_refused():
    with pytest.raises(ValueError, match="num_probes must be at least 1, got 0"):
        deterministic.hutchinson_gradient_penalty(
            jax.random.key(0), _linear, jnp.array(Z), num_probes=0
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
        return deterministic.spectral_norm(kernel, vector, num_iterations=20)

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
    kernel, one = jnp.array(_kernel(6, 4)), jax.jit(deterministic.spectral_norm)
    vector = start = jnp.array([1.0, -0.5, 0.2, 0.3])
    norms = []
    for _ in range(10):
        norm, vector = one(kernel, vector)
        norms.append(float(norm))
    together = jax.jit(
        lambda kernel: deterministic.spectral_norm(kernel, start, num_iterations=10)
    )(kernel)
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
        whole = kernel / deterministic.spectral_norm(kernel, start, num_iterations=20)[0]
        return jnp.sum(whole * jnp.array(cotangent)), whole

    grad, whole = jax.jit(jax.grad(normalised, has_aux=True))(jnp.array(kernel))
    expected = layer.weight.detach().numpy().transpose(back)
    np.testing.assert_allclose(whole, expected, rtol=1e-9)
    expected = layer.parametrizations.weight.original.grad.numpy().transpose(back)
    np.testing.assert_allclose(grad, expected, atol=1e-8)


def test_spectral_norm_of_a_zero_kernel():
    """Zero without nan, and zero gradients rather than nan."""
    both = jax.jit(jax.value_and_grad(deterministic.spectral_norm, has_aux=True))
    (norm, vector), grad = both(jnp.zeros((3, 2)), jnp.array([0.6, 0.8]))
    assert norm == 0.0
    assert np.all(np.isfinite(vector))
    assert np.all(np.isfinite(grad))


def test_the_vector_goes_on_from_a_zero_kernel():
    """One step at zero, as with a zero initialisation, must not lose the later norms."""
    kernel = jnp.array(_kernel(6, 4), jnp.float32)
    one, vector = jax.jit(deterministic.spectral_norm), jnp.array([1.0, -0.5, 0.2, 0.3])
    _, vector = one(jnp.zeros((6, 4)), vector)
    for _ in range(10):
        norm, vector = one(kernel, vector)
    np.testing.assert_allclose(norm, 3.0, rtol=1e-4)


def test_bad_arguments_of_the_spectral_norm_are_refused():
    with pytest.raises(ValueError, match="num_iterations must be at least 1, got 0"):
        deterministic.spectral_norm(jnp.ones((3, 2)), jnp.ones(2), num_iterations=0)
    with pytest.raises(ArgumentError):
        deterministic.spectral_norm(jnp.ones((3, 2)), jnp.ones(3))


def _mmd(first, second, scales=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)):
    """The U-statistic pair by pair."""

    def kernel(a, b):
        constants = 2.0 * len(a) * np.array(scales)
        return np.sum(constants / (constants + np.sum((a - b) ** 2)))

    def within(sample):
        return np.mean([kernel(a, b) for a, b in itertools.permutations(sample, 2)])

    across = np.mean([kernel(a, b) for a in first for b in second])
    return within(first) + within(second) - 2.0 * across


@pytest.mark.parametrize("scales", [None, (0.3, 4.0)])
def test_mmd_is_the_sum_over_pairs(float64, scales):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.5
    options = {} if scales is None else {"scales": scales}
    pairs = (first, second), (first[:2], second[:2]), (first[[0, 0, 0]], second)
    obtained = jax.jit(
        lambda pairs: [deterministic.maximum_mean_discrepancy(*pair, **options) for pair in pairs]
    )(jax.tree.map(jnp.array, pairs))
    np.testing.assert_allclose(obtained, [_mmd(*pair, **options) for pair in pairs], rtol=1e-12)


def test_mmd_is_unbiased(keys):
    """Over 2,000 pairs of samples of 6 and 9: 0 within 4 standard errors where both are N(0, I),
    beyond 30 where one is shifted by 1 in both coordinates."""

    def draw(key):
        both = jax.random.normal(key, (15, 2))
        first, second = both[:6], both[6:]
        mmd = deterministic.maximum_mean_discrepancy
        return jnp.stack([mmd(first, second), mmd(first, second + 1.0)])

    draws = jax.device_get(jax.jit(jax.vmap(draw))(jax.random.split(next(keys), 2000)))
    errors = np.std(draws, axis=0, ddof=1) / np.sqrt(2000)
    same, shifted = np.mean(draws, axis=0)
    assert abs(same) < 4 * errors[0]
    assert shifted > 30 * errors[1]
    assert np.min(draws[:, 0]) < 0.0


def test_bad_samples_of_the_mmd_are_refused():
    mmd, one, two = deterministic.maximum_mean_discrepancy, jnp.ones((1, 3)), jnp.ones((2, 3))
    for pair in ((one, two), (two, one)):
        with pytest.raises(ValueError, match="needs two points of each, got"):
            mmd(*pair)
    with pytest.raises(ArgumentError):
        mmd(two, jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="needs two points of each, got 1 and 1"):
        jax.eval_shape(_wae, jnp.ones((1, 2, 3, 1)), one)


def _wae(x, z, axis_name=None):
    return deterministic.wae_mmd_loss(
        jax.random.key(5), _curved, x, z, weight=10.0, axis_name=axis_name
    )


def test_wae_mmd_loss(float64):
    """Its parts by hand, with prior sample i from `fold_in(rng, i)`; alike where two devices
    share the batch."""
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(6, 2, 3, 1)), rng.normal(size=(6, 3))
    key = jax.random.key(5)
    draw = jax.jit(lambda i: jax.random.normal(jax.random.fold_in(key, i), (3,)))
    prior = [draw(i) for i in range(6)]
    x_hat = np.tanh(z @ WEIGHTS.T + 0.1 * np.sum(z**2, axis=1, keepdims=True)).reshape(x.shape)
    expected = np.sum((x - x_hat) ** 2) / 6 + 10.0 * _mmd(z, np.array(prior))
    np.testing.assert_allclose(jax.jit(_wae)(jnp.array(x), jnp.array(z)), expected, rtol=1e-12)
    shares = jnp.array(x).reshape(2, 3, 2, 3, 1), jnp.array(z).reshape(2, 3, 3)
    shared = jax.pmap(lambda x, z: _wae(x, z, "batch"), axis_name="batch")(*shares)
    np.testing.assert_allclose(shared, np.full(2, expected), rtol=1e-12)


def test_identical_rows_are_finite_with_finite_gradients():
    """A collapsed encoder, in float32: every code the same, at the origin and far from it."""
    both = jax.jit(jax.value_and_grad(_wae, 1))
    x = jnp.ones((4, 2, 3, 1))
    for place in (0.0, 1.0, 1e4):
        value, grad = both(x, jnp.full((4, 3), place))
        assert np.isfinite(value)
        assert np.all(np.isfinite(grad))


@pytest.mark.parametrize("variance", [0.5, np.array([0.2, 1.0, 0.0])])
def test_cv_vae_loss_has_the_expectation_of_a_linear_decoder(keys, variance):
    """|x - W mean|^2 + tr(W diag(variance) W') + beta |mean|^2 over 20,000 draws, within 4
    standard errors, which are less than 3 % of it."""
    x, mean = jnp.array(X, jnp.float32), jnp.array(Z, jnp.float32)

    def loss(key):
        return deterministic.cv_vae_loss(
            key, _linear, x, mean, variance=jnp.asarray(variance, jnp.float32), beta=2.0
        )

    draws = jax.device_get(jax.jit(jax.vmap(loss))(jax.random.split(next(keys), 20_000)))
    expected = np.sum((X.ravel() - WEIGHTS @ Z) ** 2) + np.sum(WEIGHTS**2 * variance)
    expected += 2.0 * Z @ Z
    standard_error = np.std(draws, ddof=1) / np.sqrt(20_000)
    assert abs(np.mean(draws, dtype=float) - expected) < 4 * standard_error
    assert 4 * standard_error < 0.03 * expected


def test_cv_vae_loss_without_noise_is_the_rae_loss(float64):
    """With beta doubled: it weighs |mean|^2 by beta, the RAE |z|^2 by beta / 2."""
    x, mean = jnp.array(X), jnp.array(Z)

    @jax.jit
    def both(x, mean):
        key = jax.random.key(0)
        cv = deterministic.cv_vae_loss(key, _curved, x, mean, variance=0.0, beta=0.7)
        return cv, deterministic.rae_loss(_curved, x, mean, beta=1.4)

    obtained, expected = both(x, mean)
    np.testing.assert_allclose(obtained, expected, rtol=1e-14)
    by_hand = np.sum((X.ravel() - np.tanh(WEIGHTS @ Z + 0.1 * Z @ Z)) ** 2) + 0.7 * Z @ Z
    np.testing.assert_allclose(obtained, by_hand, rtol=1e-12)
