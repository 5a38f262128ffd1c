"""The inverse autoregressive flow: dense Jacobians, quadrature and its own inverse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax.posteriors import InverseAutoregressiveFlow, init_iaf

POINTS = np.random.default_rng(1).normal(size=(6, 3))


def _networks(m, *, seed=0, scale=0.6, **sizes):
    """Random kernels and biases, so that nothing is zero or nearly the identity."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: init_iaf(jax.random.key(0), m, **sizes))
    return jax.tree.map(lambda leaf: jnp.array(scale * rng.normal(size=leaf.shape)), shapes)


def _flow(m=3, *, num_flows=2, hidden_sizes=(4,), context_size=2, **options):
    rng = np.random.default_rng(m)
    networks = _networks(
        m, num_flows=num_flows, hidden_sizes=hidden_sizes, context_size=context_size, **options
    )
    context = jnp.array(rng.normal(size=context_size)) if context_size else None
    mean, stddev = rng.normal(size=m), rng.uniform(0.5, 1.5, size=m)
    return InverseAutoregressiveFlow(jnp.array(mean), jnp.array(stddev), context, networks)


def _with_jacobian(flow, z):
    """z_K, the claimed log |det| and the dense Jacobian."""
    return *flow.forward(z), jax.jacfwd(lambda z: flow.forward(z)[0])(z)


@pytest.mark.parametrize("hidden_sizes", [(6, 5), (2,), ()])
def test_one_step_is_triangular(float64, hidden_sizes):
    """The first lower, the second upper, with sigma in (0, 1) on the diagonal; also when the
    hidden layers are narrower than the latent."""
    flow = _flow(hidden_sizes=hidden_sizes)
    first = InverseAutoregressiveFlow(flow.mean, flow.stddev, flow.context, flow.networks[:1])
    points = jnp.array(np.concatenate([POINTS, POINTS[0] + 2.0 * np.eye(3)]))
    both = jax.jit(jax.vmap(lambda z: (_with_jacobian(first, z), _with_jacobian(flow, z))))
    (z, log_det, lower), (_, _, total) = jax.device_get(both(points))
    np.testing.assert_array_equal(np.triu(lower, 1), 0.0)
    sigma = np.diagonal(lower, axis1=1, axis2=2)
    assert np.all((sigma > 0.0) & (sigma < 1.0))
    np.testing.assert_allclose(log_det, np.log(sigma).sum(axis=1), rtol=1e-10)
    # sigma_i and mu_i do not see z_i: an output is affine in its own input, with slope sigma_i.
    np.testing.assert_allclose(np.diag(z[-3:] - z[:1]), 2.0 * sigma[0], rtol=1e-10)
    upper = total @ np.linalg.inv(lower)
    np.testing.assert_allclose(np.tril(upper, -1), 0.0, atol=1e-12)
    assert np.all(np.diagonal(upper, axis1=1, axis2=2) > 0.0)
    if len(hidden_sizes) == 2:  # wide enough for every dependence that is allowed
        assert np.all(np.abs(lower[:, *np.tril_indices(3)]).max(axis=0) > 1e-3)
        assert np.all(np.abs(upper[:, *np.triu_indices(3)]).max(axis=0) > 1e-3)


def test_the_context_reaches_every_output(float64):
    """Also the first, which sees no input, and through either number of the context."""
    flow = _flow(num_flows=1)

    def forward(context, z):
        return InverseAutoregressiveFlow(flow.mean, flow.stddev, context, flow.networks).forward(z)

    grads = jax.jit(jax.jacfwd(forward))(flow.context, jnp.array(POINTS[0]))
    jacobian, log_det_grad = jax.device_get(grads)
    assert np.all(np.abs(jacobian) > 1e-4)
    assert np.all(np.abs(log_det_grad) > 1e-4)


def test_samples_of_three_flows(float64):
    """Four posteriors with their own base and context share networks, 500 draws each.

    The inverse undoes the flow, the log det is slogdet's, and every log q is that of the dense
    formula; z_0 has mean and variance of the base within 4 standard errors of 2,000 draws.
    """
    flow, rng = _flow(num_flows=3), np.random.default_rng(0)
    mean, stddev = rng.normal(size=(4, 3)), rng.uniform(0.5, 1.5, size=(4, 3))
    context = jnp.array(rng.normal(size=(4, 2)))
    batch = InverseAutoregressiveFlow(jnp.array(mean), jnp.array(stddev), context, flow.networks)

    def one(flow, key):
        z, log_q = flow.sample_and_log_prob(key)
        path_z, path_log_q = flow.sample_and_path_log_prob(key)
        inverse = flow.inverse(z)
        again = _with_jacobian(flow, inverse[0])
        return (z, path_z), (log_q, path_log_q, flow.log_prob(z)), inverse, again

    axes = InverseAutoregressiveFlow(0, 0, 0, None)
    keys = jax.random.split(jax.random.key(0), (4, 500))
    draws = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (axes, 0)))(batch, keys)
    (z, path_z), log_probs, (z_0, back), (again, log_det, jacobian) = jax.device_get(draws)
    np.testing.assert_array_equal(path_z, z)
    np.testing.assert_allclose(again, z, rtol=1e-9, atol=1e-9)
    expected_log_det = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-9)
    np.testing.assert_allclose(back, -expected_log_det, rtol=1e-9)
    expected = scipy.stats.norm(mean[:, None], stddev[:, None]).logpdf(z_0).sum(axis=-1)
    expected -= expected_log_det
    for log_prob in log_probs:
        np.testing.assert_allclose(log_prob, expected, rtol=1e-9, atol=1e-9)
    noise = ((z_0 - mean[:, None]) / stddev[:, None]).reshape(2000, 3)
    assert np.all(np.abs(noise.mean(axis=0)) < 4 / np.sqrt(2000))
    assert np.all(np.abs(noise.var(axis=0) - 1.0) < 4 * np.sqrt(2 / 2000))


@pytest.mark.parametrize("context_size", [0, 2])
def test_the_density_integrates_to_one(float64, context_size):
    """By quadrature over the plane, with a context and without."""
    flow = _flow(2, context_size=context_size)
    assert (flow.context is None) == (context_size == 0)
    grid = np.linspace(-10.0, 10.0, 401)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    density = np.exp(np.asarray(jax.jit(jax.vmap(flow.log_prob))(jnp.array(points))))
    np.testing.assert_allclose(density.sum() * (grid[1] - grid[0]) ** 2, 1.0, rtol=1e-6)


def test_one_dimension_is_a_gaussian(float64):
    """Nothing comes before the only input: every step is a fixed affine map."""
    flow, points = _flow(1), np.array([[0.0], [1.0], [-2.0]])
    values = jax.jit(jax.vmap(lambda z: (flow.forward(z), flow.log_prob(z))))(jnp.array(points))
    (z, log_det), log_prob = jax.device_get(values)
    slope = float(z[1, 0] - z[0, 0])
    np.testing.assert_allclose(z[2, 0] - z[0, 0], -2.0 * slope, rtol=1e-12)
    np.testing.assert_allclose(log_det, np.log(slope), rtol=1e-12)
    mean, stddev = np.asarray(flow.mean), np.asarray(flow.stddev)
    norm = scipy.stats.norm(z[0, 0] + slope * mean, slope * stddev)
    np.testing.assert_allclose(log_prob, norm.logpdf(points[:, 0]), rtol=1e-10)


def test_path_log_prob_is_differentiated_through_z_alone(float64):
    """d log q(z)/dz, by finite differences, pulled back through the sampling of z."""
    flow, key, step = _flow(hidden_sizes=()), jax.random.key(0), 1e-5

    @jax.jit
    def gradients(flow):
        z, pull = jax.vjp(lambda flow: flow.sample_and_log_prob(key)[0], flow)
        shifts = step * jnp.concatenate([jnp.eye(3), -jnp.eye(3)])
        log_q = jax.vmap(lambda shift: flow.log_prob(z + shift))(shifts)
        (through_z,) = pull((log_q[:3] - log_q[3:]) / (2.0 * step))
        return jax.grad(lambda flow: flow.sample_and_path_log_prob(key)[1])(flow), through_z

    for own, expected in zip(*map(jax.tree.leaves, jax.device_get(gradients(flow))), strict=True):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-8)


def test_a_fresh_flow_is_nearly_open():
    """The defaults: two networks of two hidden layers of 100, with gates about sigmoid(2)."""

    @jax.jit
    def fresh(key, points):
        networks = init_iaf(key, 4, context_size=3)
        flow = InverseAutoregressiveFlow(jnp.zeros(4), jnp.ones(4), jnp.ones(3), networks)
        return networks, jax.vmap(flow.forward)(points)[1]

    points = jnp.array(np.random.default_rng(0).normal(size=(200, 4)), jnp.float32)
    networks, log_det = jax.device_get(fresh(jax.random.key(0), points))
    shapes = [{name: leaf.shape for name, leaf in layer.items()} for layer in networks[1]]
    assert shapes == [
        {"kernel": (4, 100), "bias": (100,), "context": (3, 100)},
        {"kernel": (100, 100), "bias": (100,)},
        {"kernel": (100, 8), "bias": (8,)},
    ]
    assert len(networks) == 2
    assert not np.array_equal(networks[0][0]["kernel"], networks[1][0]["kernel"])
    assert 0.8 < np.exp(np.mean(log_det) / 8.0) < 0.94  # sigmoid(2) = 0.88


METHODS = ("sample_and_log_prob", "sample_and_path_log_prob")


@jax.jit
def _values_and_grads(flow):
    """sum z + log q by either method, and its gradient."""

    def total(flow, method):
        z, log_q = getattr(flow, method)(jax.random.key(0))
        return jnp.sum(z) + log_q

    return [jax.value_and_grad(total)(flow, method) for method in METHODS]


@pytest.mark.parametrize("method", METHODS)
def test_extreme_networks_are_finite_with_finite_gradients(method):
    """Every kernel and bias a thousand times as large, in float32: gates wide open or shut."""
    leaves = jax.tree.leaves(_values_and_grads(_flow(scale=600.0))[METHODS.index(method)])
    assert all(np.isfinite(leaf).all() for leaf in leaves)
