"""The short way through a dense last layer against the plain one, and the products' own rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import equations
from jax.test_util import check_grads

from sfvae_jax import objectives
from sfvae_jax.objectives.numerics import tangents as products
from sfvae_jax.objectives.numerics.linear_algebra import log_det_and_quadratic

M, H, N, B = 3, 5, 12, 4  # latents, hidden units, data, examples


def _arguments(dtype=np.float64, hidden=H):
    """(weights of two layers and a bias, x [B, N], mean, stddev [B, M])."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(M, hidden)), rng.normal(size=(hidden, N)), rng.normal(size=N)
    batch = rng.normal(size=(B, N)), rng.normal(size=(B, M)), rng.uniform(0.2, 1.5, (B, M))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (weights, *batch))


def _plain(weights):
    first, last, bias = weights
    return lambda z: (jnp.tanh(z @ first) @ last + bias).reshape(3, 4)


def _short(weights):
    first, last, bias = weights
    return objectives.DenseOutput(lambda z: jnp.tanh(z @ first), last, bias, (3, 4))


def _sampling_free(decode, x, mean, stddev, **options):
    return objectives.sampling_free_elbo(decode, x, mean, stddev, gamma=0.7, **options).value


def _linearized(decode, x, mean, stddev, **options):
    return objectives.linearized_elbo(decode, x, mean, stddev, **options).value


def _log_evidence(decode, x, mean, stddev, **options):
    return objectives.log_evidence(decode, x, mean, prior_stddev=stddev, **options)


def _precision(decode, x, mean, stddev, **options):
    precision = objectives.posterior_precision(decode, mean, prior_stddev=stddev, **options)
    return jnp.sum(jnp.square(precision)) + jnp.sum(x)


def _penalty(decode, x, mean, stddev, observation_variance):
    del x, stddev, observation_variance
    return objectives.gradient_penalty(decode, mean)


FUNCTIONS = (_sampling_free, _linearized, _log_evidence, _precision, _penalty)


def _gradients(function, make, arguments, variance):
    """Value and gradients of the batch's mean, in everything."""

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2, 3, 4))
    def mean(weights, x, means, stddevs, variance):
        one = functools.partial(function, make(weights), observation_variance=variance)
        return jnp.mean(jax.vmap(one)(x.reshape(B, 3, 4), means, stddevs))

    return mean(*arguments, variance)


# A hidden layer that is larger than the data, and a variance for each element, go another way.
CASES = [(function, H, "one") for function in FUNCTIONS]
CASES += [(_sampling_free, N + 2, "one"), (_sampling_free, H, "per element")]
CASES += [(_linearized, H, "per element")]


@pytest.mark.parametrize(("function", "hidden", "variance"), CASES)
def test_the_short_form_equals_the_general_one(float64, function, hidden, variance):
    arguments = _arguments(hidden=hidden)
    c = jnp.array(0.4) if variance == "one" else jnp.linspace(0.2, 2.0, N)
    obtained = _gradients(function, _short, arguments, c)
    expected = _gradients(function, _plain, arguments, c)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), obtained, expected)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_to_rounding_in_float32(function):
    """Gradients to 2e-5 of their largest entry."""
    arguments = _arguments(np.float32)
    obtained = _gradients(function, _short, arguments, 0.4)
    expected = _gradients(function, _plain, arguments, 0.4)
    for got, want in zip(jax.tree.leaves(obtained), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max() + 1e-12)


def test_it_decodes_like_any_callable():
    weights, _, mean, _ = _arguments(np.float32)
    np.testing.assert_allclose(_short(weights)(mean[0]), _plain(weights)(mean[0]), rtol=1e-5)
    bare = objectives.DenseOutput(jnp.tanh, jnp.ones((2, 3)))
    np.testing.assert_allclose(bare(jnp.zeros(2)), np.zeros(3))


def _shapes(function, *arguments):
    """Shapes of all intermediates, those of called functions too."""

    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return [v.aval.shape for eqn in equations(jaxpr) for v in eqn.outvars]


def test_neither_the_jacobian_nor_a_kernel_for_each_example_is_formed():
    weights, *batch = _arguments(np.float32)

    def loss(make, weights):
        one = functools.partial(_sampling_free, make(weights), observation_variance=0.4)
        return jnp.mean(jax.vmap(one)(batch[0].reshape(B, 3, 4), *batch[1:]))

    short = _shapes(jax.grad(functools.partial(loss, _short)), weights)
    assert (B, M, H) in short
    assert (H, H) in short
    assert not {(B, M, N), (M, B, N), (B, N, M), (B, H, H), (B, H, N)} & set(short)
    sizes = [
        int(np.prod(shape)) for shape in _shapes(jax.grad(functools.partial(loss, _plain)), weights)
    ]
    assert max(sizes) == B * M * N


@pytest.mark.parametrize("modes", ["fwd", "rev"])
def test_rules_of_the_products(float64, modes):
    """To the second order, by finite differences; K is kept symmetric."""
    rng = np.random.default_rng(1)
    rows, root = jnp.array(rng.normal(size=(3, 4))), jnp.array(rng.normal(size=(4, 4)))

    def everything(rows, root):
        inner = root + root.T
        return (
            products.symmetric_product(rows),
            products.quadratic_form(rows, inner),
            products.quadratic_form_diagonal(rows, inner),
        )

    plain = rows @ rows.T, rows @ (root + root.T) @ rows.T
    for got, want in zip(everything(rows, root), (*plain, jnp.diagonal(plain[1])), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    check_grads(jax.jit(everything), (rows, root), order=2, modes=[modes])


def test_rule_of_the_scaled_system(float64):
    """log det A and p' A^-1 p against NumPy; derivatives to the second order by differences."""
    rng = np.random.default_rng(2)
    rows, g, scale = rng.normal(size=(3, 5)), rng.normal(size=3), rng.uniform(0.3, 2.0, 3)
    system = np.eye(3) + scale[:, None] * (rows @ rows.T) * scale

    def pair(rows, g, scale):
        return log_det_and_quadratic(rows @ rows.T, g, scale)

    expected = np.linalg.slogdet(system)[1], scale * g @ np.linalg.solve(system, scale * g)
    arguments = jnp.array(rows), jnp.array(g), jnp.array(scale)
    np.testing.assert_allclose(pair(*arguments), expected, rtol=1e-12)
    check_grads(jax.jit(pair), arguments, order=2)


@pytest.mark.parametrize("largest", [1e2, 1e5, 1e6])
def test_rule_of_the_scaled_system_keeps_its_digits_in_float32(largest):
    """Gradients in the scale of both, against NumPy in double precision; a dimension is all but 0.

    d log det A / ds_i = 2 (1 - (A^-1)_ii) / s_i, d p'A^-1 p / ds_i = 2 w_i^2 / s_i.
    """
    rng = np.random.default_rng(4)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    gram = np.float32(rotation * np.geomspace(1.0, largest, 6) @ rotation.T)
    g, scale = np.float32(rng.normal(size=6)), np.float32(rng.uniform(0.5, 1.0, 6))
    scale[3] = 1e-6

    @jax.jit
    def gradients(gram, g, scale):
        return [
            jax.grad(lambda scale, i=i: log_det_and_quadratic(gram, g, scale)[i])(scale)
            for i in (0, 1)
        ]

    obtained = gradients(gram, g, scale)
    s, exact = scale.astype(float), gram.astype(float)
    inverse = np.linalg.inv(np.eye(6) + s[:, None] * exact * s)
    solution = inverse @ (s * g)
    by_sum = 2.0 * (inverse * exact) @ s  # the same as the first, for the tiny one too
    expected = by_sum, 2.0 * solution**2 / s
    for got, want in zip(obtained, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=1e-6 * largest * 1e-3)


def _in_bfloat16(weights):
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), weights)
    decode = _short(low)
    return lambda z: decode(z.astype(jnp.bfloat16))


@pytest.mark.parametrize("function", [_sampling_free, _linearized, _log_evidence])
def test_tangents_in_bfloat16(function):
    """Values to 1% and gradients to 3% of their norm: bfloat16 keeps 8 bits, 0.4% an entry."""
    weights, *batch = _arguments(np.float32)

    def mean(weights, low):
        one = functools.partial(
            function,
            _short(weights),
            observation_variance=0.4,
            tangent_decode=_in_bfloat16(weights) if low else None,
        )
        return jnp.mean(jax.vmap(one)(batch[0].reshape(B, 3, 4), *batch[1:]))

    value_and_grad = jax.jit(jax.value_and_grad(mean), static_argnums=1)
    low, low_grads = value_and_grad(weights, True)
    full, full_grads = value_and_grad(weights, False)
    assert low != full
    np.testing.assert_allclose(low, full, rtol=1e-2)
    for got, want in zip(low_grads, full_grads, strict=True):
        assert got.dtype == jnp.float32
        assert jnp.linalg.norm(got - want) < 3e-2 * jnp.linalg.norm(want)


def test_sums_of_bfloat16_are_in_float32():
    """4,096 times 1/64 squared is 1; a sum in bfloat16 would stop growing long before."""
    rows = jnp.full((2, 4096), 1.0 / 64.0, jnp.bfloat16)
    gram = products.Rows(rows).gram(jnp.ones(()))
    assert gram.dtype == jnp.float32
    np.testing.assert_array_equal(gram, np.ones((2, 2)))
    np.testing.assert_allclose(products.Rows(rows).gram_diagonal(jnp.ones(())), np.ones(2))


def test_bfloat16_stays_positive_definite():
    """Where I + U'U/c has eigenvalues from 1 to 1e8: rounded or not, R R' has none below zero."""
    rng = np.random.default_rng(3)
    left, _ = np.linalg.qr(rng.normal(size=(64, 64)))
    kernel = left[:, :32].T * np.logspace(2, -4, 32)[:, None]  # [32, 64]
    mixing = rng.normal(size=(32, 32))

    def log_det(mixing, kernel):
        """Of I + J'J/c, by data at the decoder's answer."""
        low = objectives.DenseOutput(
            lambda z: z.astype(jnp.bfloat16) @ mixing.astype(jnp.bfloat16),
            kernel.astype(jnp.bfloat16),
        )
        elbo = objectives.sampling_free_elbo(
            lambda z: jnp.zeros(64),
            jnp.zeros(64),
            jnp.ones(32),
            jnp.ones(32),
            observation_variance=0.5,
            tangent_decode=low,
        )
        return -2.0 * elbo.log_likelihood - 64.0 * jnp.log(jnp.pi)

    arguments = jnp.array(mixing, jnp.float32), jnp.array(kernel, jnp.float32)
    obtained, grads = jax.jit(jax.value_and_grad(log_det, (0, 1)))(*arguments)
    assert all(np.isfinite(grad).all() for grad in grads)
    # The determinant of what bfloat16 has made of the two, in double precision.
    rounded = [np.asarray(a.astype(jnp.bfloat16), np.float64) for a in arguments]
    jacobian = rounded[0] @ rounded[1]
    expected = np.linalg.slogdet(np.eye(32) + jacobian @ jacobian.T / 0.5)[1]
    np.testing.assert_allclose(obtained, expected, rtol=0.02)


def test_the_short_form_is_taken_where_it_is_less_work():
    """h = 512, n = 784: from six examples on at m = 200, never in a batch of 64 at m = 2."""
    kernel = jnp.zeros((512, 784))
    for m, batch_size, expected in ((200, 5, False), (200, 6, True), (2, 64, False)):
        decode = objectives.DenseOutput(lambda z: z, kernel, batch_size=batch_size)
        assert objectives.has_short_form(decode, m) == expected
    assert not objectives.has_short_form(lambda z: z, 200)
    low = objectives.DenseOutput(lambda z: z, kernel.astype(jnp.bfloat16))
    assert not objectives.has_short_form(low, 200)


@pytest.mark.parametrize("x", [np.array([0, 1, 0, 1]), np.array([True, False, True, True])])
def test_x_may_hold_whole_numbers(x):
    """As binarised digits are stored: c = 0.5 stays 0.5."""
    weights = jnp.array([[1.0, 0.5, 0.0, -1.0], [0.2, 0.0, 1.0, 0.3]])

    def value(x):
        return objectives.sampling_free_elbo(
            lambda z: z @ weights, x, jnp.ones(2), jnp.ones(2), observation_variance=0.5
        ).value

    np.testing.assert_allclose(value(jnp.array(x)), value(jnp.array(x, jnp.float32)), rtol=1e-6)
