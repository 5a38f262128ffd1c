"""The auxiliary flow: dense Jacobians over (z, v), quadrature, and the looser bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax.posteriors import AuxiliaryFlow, init_auxiliary_flow

NORMAL = "standard_normal"
MAPS = ("log_scale_v", "shift_v", "log_scale_z", "shift_z")


def _flow(m, *, num_flows=2, hidden_sizes=(4,), context_size=2, scale=0.5):
    """Random kernels and biases, so that nothing is zero or the identity."""
    rng = np.random.default_rng(m)
    shapes = jax.eval_shape(
        lambda: init_auxiliary_flow(
            jax.random.key(0),
            m,
            num_flows=num_flows,
            hidden_sizes=hidden_sizes,
            context_size=context_size,
        )
    )
    networks = jax.tree.map(lambda leaf: jnp.array(scale * rng.normal(size=leaf.shape)), shapes)
    context = jnp.array(rng.normal(size=context_size)) if context_size else None
    mean, stddev = rng.normal(size=m), rng.uniform(0.5, 1.5, size=m)
    return AuxiliaryFlow(jnp.array(mean), jnp.array(stddev), context, networks)


def _logpdf(gaussian, x):
    return scipy.stats.norm(gaussian.mean, gaussian.stddev).logpdf(x).sum(axis=-1)


def test_samples_and_densities(float64):
    """200 draws: forward and inverse, log dets by slogdet over (z, v), all of the densities."""
    flow = _flow(2)

    @jax.jit
    @jax.vmap
    def draw(key):
        (z, v), log_q = flow._sample(key)
        plain, path = flow.sample_and_log_prob(key), flow.sample_and_path_log_prob(key)
        z_0, v_0, back = flow.inverse(z, v)

        def concatenated(start):
            return jnp.concatenate(flow.forward(*jnp.split(start, 2))[:2])

        jacobian = jax.jacfwd(concatenated)(jnp.concatenate([z_0, v_0]))
        conditionals = flow.initial(z_0), flow.reverse(z)
        densities = log_q, flow.joint_log_prob(z, v)
        again = flow.forward(z_0, v_0)
        return (z, v), densities, plain, path, (z_0, v_0, back), again, jacobian, conditionals

    draws = jax.device_get(draw(jax.random.split(jax.random.key(0), 200)))
    (z, v), densities, plain, path, (z_0, v_0, back), again, jacobian, conditionals = draws
    log_det = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(again[0], z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(again[1], v, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(again[2], log_det, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(back, -log_det, rtol=1e-9, atol=1e-9)

    base = scipy.stats.norm(flow.mean, flow.stddev).logpdf(z_0).sum(axis=-1)
    joint = base + _logpdf(conditionals[0], v_0) - log_det
    for density in densities:
        np.testing.assert_allclose(density, joint, rtol=1e-9, atol=1e-9)
    expected = joint - _logpdf(conditionals[1], v)
    for method_z, log_q in (plain, path):
        np.testing.assert_array_equal(method_z, z)
        np.testing.assert_allclose(log_q, expected, rtol=1e-9, atol=1e-9)

    # z_0 and v_0 are drawn from their Gaussians: 800 numbers, mean and variance within 4
    # standard errors.
    noise = np.stack(
        [
            (z_0 - np.asarray(flow.mean)) / np.asarray(flow.stddev),
            (v_0 - conditionals[0].mean) / conditionals[0].stddev,
        ]
    )
    assert abs(noise.mean()) < 4 / np.sqrt(800)
    assert abs(noise.var() - 1.0) < 4 * np.sqrt(2 / 800)
    assert abs(np.mean(noise[0] * noise[1])) < 4 / np.sqrt(400)


def test_a_standard_normal_auxiliary_variable(float64):
    """GAPS 6.2: q(z, v|x) = q(z|x) N(v; 0, I), and r(v|z) has a network of other sizes."""
    networks = init_auxiliary_flow(
        jax.random.key(0), 2, hidden_sizes=(4,), reverse_sizes=(3, 5), auxiliary_start=NORMAL
    )
    assert set(networks) == {"reverse", "flows"}
    assert [layer["kernel"].shape for layer in networks["reverse"]] == [(2, 3), (3, 5), (5, 4)]
    assert len(networks["flows"][0]["shift_z"]) == 2
    flow = AuxiliaryFlow(jnp.array([0.3, -0.2]), jnp.array([0.5, 0.8]), None, networks)

    @jax.jit
    @jax.vmap
    def draw(key):
        (z, v), log_q = flow._sample(key)
        z_0, v_0, back = flow.inverse(z, v)
        return (z_0, v_0), log_q, back, flow.sample_and_path_log_prob(key)[1], flow.reverse(z), v

    (z_0, v_0), log_q, back, path, reverse, v = jax.device_get(
        draw(jax.random.split(jax.random.key(0), 50))
    )
    base = scipy.stats.norm(flow.mean, flow.stddev).logpdf(z_0).sum(axis=-1)
    joint = base + scipy.stats.norm(0, 1).logpdf(v_0).sum(axis=-1) + back
    np.testing.assert_allclose(log_q, joint, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(path, joint - _logpdf(reverse, v), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="auxiliary_start must be one of conditional, standard_n"):
        init_auxiliary_flow(jax.random.key(0), 2, auxiliary_start="normal")


def test_the_steps_are_those_of_gaps(float64):
    """Eqs. 12 and 13 by hand, with networks of one affine layer: v first, then z of the new v."""
    flow = _flow(1, hidden_sizes=(), context_size=0)
    z, v = 0.7, -1.3
    obtained = flow.forward(jnp.array([z]), jnp.array([v]))[:2]
    for maps in flow.networks["flows"]:
        (a, b), (c, d), (e, f), (g, h) = (
            (float(maps[name][0]["kernel"][0, 0]), float(maps[name][0]["bias"][0])) for name in MAPS
        )
        v = v * 2.0 / (1.0 + np.exp(-(a * z + b))) + c * z + d
        z = z * 2.0 / (1.0 + np.exp(-(e * v + f))) + g * v + h
    np.testing.assert_allclose(np.ravel(obtained), [z, v], rtol=1e-12)


def test_the_joint_integrates_to_one_and_the_bound_is_looser(float64, keys):
    """m = 1, on a grid of (z, v).

    E[log q(z, v) - log r(v|z)] by 4,000 draws is within 4 standard errors of its quadrature, and
    above E[log q(z)] by KL(q(v|z) || r(v|z)) on average (GAPS Eq. 8), of the quadrature and of the
    draws, q(z) being the joint summed over v.
    """
    flow = _flow(1)
    grid = np.linspace(-12.0, 12.0, 241)
    width = grid[1] - grid[0]

    @jax.jit
    def tables(z, v):
        def pair(z, v):
            z, v = z[None], v[None]
            return flow.joint_log_prob(z, v), flow.reverse(z).log_prob(v)

        return jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(z, v)

    log_joint, log_reverse = map(np.asarray, tables(jnp.array(grid), jnp.array(grid)))
    joint = np.exp(log_joint)
    np.testing.assert_allclose(joint.sum() * width**2, 1.0, rtol=1e-6)
    log_marginal = np.log(joint.sum(axis=1) * width)
    expected = np.sum(joint * (log_joint - log_reverse)) * width**2
    gap = expected - np.sum(np.exp(log_marginal) * log_marginal) * width
    assert gap > 0.05

    draw = jax.jit(jax.vmap(flow.sample_and_log_prob))
    z, log_q = jax.device_get(draw(jax.random.split(next(keys), 4000)))
    standard_error = np.std(log_q, ddof=1) / np.sqrt(4000)
    assert abs(np.mean(log_q) - expected) < 4 * standard_error
    excess = log_q - np.interp(z[:, 0], grid, log_marginal)
    standard_error = np.std(excess, ddof=1) / np.sqrt(4000)
    assert 4 * standard_error < np.mean(excess)
    assert abs(np.mean(excess) - gap) < 4 * standard_error


def test_path_log_prob_is_differentiated_through_z_and_v_and_r(float64):
    """The slopes in z and v, by finite differences, pulled back through their sampling, and the
    gradient of -log r in its own parameters: the plain method's, as r has no part in sampling."""
    flow, key, step = _flow(2, num_flows=1, hidden_sizes=()), jax.random.key(0), 1e-5

    @jax.jit
    def gradients(flow):
        def sample(flow):
            return jnp.concatenate(flow._sample(key)[0])

        def log_ratio(pair):
            z, v = jnp.split(pair, 2)
            return flow.joint_log_prob(z, v) - flow.reverse(z).log_prob(v)

        pair, pull = jax.vjp(sample, flow)
        shifts = step * jnp.concatenate([jnp.eye(4), -jnp.eye(4)])
        values = jax.vmap(lambda shift: log_ratio(pair + shift))(shifts)
        (through_pair,) = pull((values[:4] - values[4:]) / (2.0 * step))
        z, v = jnp.split(pair, 2)
        of_reverse = jax.grad(lambda flow: -flow.reverse(z).log_prob(v))(flow)
        expected = jax.tree.map(jnp.add, through_pair, of_reverse)
        path = jax.grad(lambda flow: flow.sample_and_path_log_prob(key)[1])(flow)
        plain = jax.grad(lambda flow: flow.sample_and_log_prob(key)[1])(flow)
        return path, expected, plain, of_reverse

    path, expected, plain, of_reverse = jax.device_get(gradients(flow))
    for own, other in zip(*map(jax.tree.leaves, (path, expected)), strict=True):
        assert np.abs(other).max() > 1e-4
        np.testing.assert_allclose(own, other, rtol=1e-6, atol=1e-8)
    for grads in (path, plain):
        pairs = (grad.networks["reverse"] for grad in (grads, of_reverse))
        for own, other in zip(*map(jax.tree.leaves, pairs), strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-10)
    # Elsewhere they differ by the score.
    assert np.abs(path.mean - plain.mean).max() > 0.1


@jax.jit
def _with_gates(bias):
    """One step from N(0, I) to sigma z + 1 and sigma v + 1: (z, v), (z_0, v_0), both log q."""
    flow = jax.tree.map(jnp.zeros_like, _flow(2, num_flows=1, hidden_sizes=(), context_size=0))
    (maps,) = flow.networks["flows"]
    for name in MAPS:
        maps[name][0]["bias"] = jnp.full(2, bias if name.startswith("log") else 1.0)
    flow = AuxiliaryFlow(flow.mean, flow.stddev + 1.0, None, flow.networks)
    base = AuxiliaryFlow(flow.mean, flow.stddev, None, {**flow.networks, "flows": ()})
    key = jax.random.key(0)
    samples = [jnp.concatenate(both._sample(key)[0]) for both in (flow, base)]
    return *samples, flow.sample_and_log_prob(key)[1], flow.sample_and_path_log_prob(key)[1]


@pytest.mark.parametrize("method", ["plain", "path"])
@pytest.mark.parametrize("bias", [-100.0, -20.0, 0.0, 1000.0])
def test_shut_and_open_gates(method, bias):
    """Float32, sigma = 2 sigmoid(bias) everywhere: log q = log q_0 - sum log sigma - log r."""
    pair, start, *log_q = jax.device_get(_with_gates(bias))
    sigma, norm = 2.0 / (1.0 + np.exp(-bias)), scipy.stats.norm()
    np.testing.assert_allclose(pair, start * sigma + 1.0, rtol=1e-5)
    expected = norm.logpdf(start).sum() - 4.0 * np.log(sigma) - norm.logpdf(pair[2:]).sum()
    np.testing.assert_allclose(log_q[method == "path"], expected, rtol=1e-4)


def test_default_networks_are_those_of_table_8():
    networks = jax.eval_shape(lambda: init_auxiliary_flow(jax.random.key(0), 50))
    to_gaussian = _shapes((50, 100), (100, 100), (100, 100))
    flow = dict.fromkeys(MAPS, _shapes((50, 100), (100, 100), (100, 50)))
    shapes = {"initial": to_gaussian, "reverse": to_gaussian, "flows": (flow, flow)}
    assert jax.tree.map(lambda leaf: leaf.shape, networks) == shapes


def _shapes(*kernels):
    return tuple({"kernel": kernel, "bias": kernel[1:]} for kernel in kernels)


def test_the_context_enters_both_conditionals(float64):
    flow = _flow(2)
    z, other = jnp.array([0.3, -0.4]), flow.context + 1.0
    moved = AuxiliaryFlow(flow.mean, flow.stddev, other, flow.networks)
    for name in ("initial", "reverse"):
        before, after = getattr(flow, name)(z), getattr(moved, name)(z)
        assert np.all(np.abs(before.mean - after.mean) > 1e-4)
        assert np.all(np.abs(before.stddev - after.stddev) > 1e-4)
    with_context = ["context" in layer for layer in flow.networks["initial"]]
    assert with_context == [True, False]
