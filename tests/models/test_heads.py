"""Posterior heads: each family gets as many numbers as it needs, and in their places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import models, posteriors
from sfvae_jax.config import base_config

FAMILIES = {
    "none": posteriors.Point,
    "constant": posteriors.DiagonalGaussian,
    "diagonal": posteriors.DiagonalGaussian,
    "full_covariance": posteriors.FullCovarianceGaussian,
    "linearized": posteriors.FullCovarianceGaussian,
    "planar": posteriors.PlanarFlow,
    "iaf": posteriors.InverseAutoregressiveFlow,
    "auxiliary_flow": posteriors.AuxiliaryFlow,
}


def _head(family, **options):
    return models.PosteriorHead(family, 3, {"hidden_sizes": (5,), "context_size": 4, **options})


def _posterior(head, raw):
    return jax.jit(lambda raw: head.apply(head.init(jax.random.key(0), raw), raw))(raw)


def test_every_spec_says_what_its_class_can_do():
    assert set(posteriors.POSTERIORS) == set(FAMILIES)
    for name, spec in posteriors.POSTERIORS.items():
        assert spec.has_density == hasattr(FAMILIES[name], "sample_and_path_log_prob")
        assert spec.closed_form_kl == hasattr(FAMILIES[name], "kl_to_prior")
        assert spec.kl_per_dimension == hasattr(FAMILIES[name], "kl_per_dimension")
        assert spec.gaussian == hasattr(FAMILIES[name], "deviation")


def test_equal_heads_are_one_static_argument():
    assert hash(_head("iaf")) == hash(_head("iaf"))
    assert _head("iaf") == _head("iaf") != _head("iaf", num_flows=3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_comes_first_and_every_output_counts(family):
    head = _head(family)
    raw = jnp.linspace(-1.0, 1.0, head.num_outputs)
    posterior = _posterior(head, raw)
    own = posteriors.Point if family == "linearized" else FAMILIES[family]  # without a decoder
    assert type(posterior) is own
    np.testing.assert_array_equal(posterior.mean, raw[:3])
    if family not in ("none", "constant", "linearized"):

        def log_q(raw):
            params = head.init(jax.random.key(0), jax.lax.stop_gradient(raw))
            z, log_q = head.apply(params, raw).sample_and_log_prob(jax.random.key(1))
            return log_q + jnp.sum(jnp.sin(z))

        assert np.all(jax.jit(jax.grad(log_q))(raw) != 0.0)


def test_standard_deviations():
    raw = jnp.array([0.0, 0.0, 0.0, -2.0, 0.0, 4.0])
    np.testing.assert_allclose(
        _posterior(_head("diagonal"), raw).stddev, np.exp([-1.0, 0.0, 2.0]), rtol=1e-6
    )
    np.testing.assert_allclose(
        _posterior(_head("diagonal", stddev="softplus"), raw).stddev,
        np.log1p(np.exp([-2.0, 0.0, 4.0])),
        rtol=1e-6,
    )
    constant = _posterior(_head("constant", variance=0.25), raw[:3])
    np.testing.assert_allclose(constant.stddev, 0.5)


def test_cholesky_factor():
    raw = jnp.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0])
    scale = _posterior(_head("full_covariance"), raw).scale_tril
    np.testing.assert_allclose(scale, [[1, 0, 0], [1, 1, 0], [2, 3, 1]])


@pytest.mark.parametrize("family", ["iaf", "auxiliary_flow"])
def test_networks_are_parameters_and_the_context_may_be_left_out(family):
    head = models.PosteriorHead(family, 3, {"hidden_sizes": (5,), "context_size": 0})
    raw = jnp.zeros(head.num_outputs)
    params = jax.jit(head.init)(jax.random.key(0), raw)
    posterior = jax.jit(head.apply)(params, raw)
    assert head.num_outputs == 6
    assert posterior.context is None
    jax.tree.map(np.testing.assert_array_equal, posterior.networks, params["params"]["networks"])


def _shared_flow(**options):
    """A head whose planar flow all examples share, and its variables."""
    head = models.PosteriorHead("planar", 2, {"amortized_flow": False, "num_flows": 2, **options})
    return head, jax.jit(head.init)(jax.random.key(0), jnp.zeros(head.num_outputs))


def test_a_shared_planar_flow_begins_as_the_identity():
    head, variables = _shared_flow()
    assert head.num_outputs == 4
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert shapes == {"flow": {"u": (2, 2), "w": (2, 2), "b": (2,)}}
    raw = jnp.array([0.3, -0.4, 0.0, 1.0])
    z = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    pushed, log_det = jax.jit(
        lambda variables, raw: jax.vmap(head.apply(variables, raw).forward)(jnp.array(z))
    )(variables, raw)
    np.testing.assert_allclose(pushed, z, atol=1e-4)  # the margin of a planar flow is 1e-5
    np.testing.assert_allclose(log_det, 0.0, atol=1e-4)


def test_a_shared_planar_flow_learns_from_every_example(float64):
    """u, w and b are those of each example; their gradient is the mean of the examples' own."""
    head, variables = _shared_flow()
    raw = jnp.linspace(-1.0, 1.0, 20).reshape(5, 4)
    keys = jax.random.split(jax.random.key(1), 5)

    def value(variables, raw, key):
        z, log_q = head.apply(variables, raw).sample_and_log_prob(key)
        return jnp.sum(jnp.sin(3.0 * z)) - log_q

    batch = lambda v: jnp.mean(jax.vmap(value, (None, 0, 0))(v, raw, keys))  # noqa: E731
    gradient, each, flows = jax.jit(
        lambda v: (
            jax.grad(batch)(v),
            jax.vmap(jax.grad(value), (None, 0, 0))(v, raw, keys),
            jax.vmap(head.apply, (None, 0))(v, raw),
        )
    )(variables)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b.mean(axis=0), rtol=1e-10), gradient, each
    )
    flow = each["params"]["flow"]  # b has a gradient once u has left the identity
    assert (np.abs(flow["u"]) > 1e-3).all()
    assert (np.abs(flow["w"]) > 1e-3).all()
    for name in ("u", "w", "b"):
        own = variables["params"]["flow"][name]
        np.testing.assert_array_equal(getattr(flows, name), np.stack([own] * 5))


def _start_of(flow, z):
    """z_0 of points z [N, 2]: each step's w'z = a + w'u tanh(a + b), a = w'z_0, by bisection."""
    for u, w, b in reversed([*zip(*map(np.asarray, (flow.u, flow.w, flow.b)), strict=True)]):
        u = u + (np.logaddexp(0.0, w @ u) - 1.0 + 1e-5 - w @ u) * w / (w @ w)
        low, high = z @ w - abs(w @ u), z @ w + abs(w @ u)
        for _ in range(60):
            middle = 0.5 * (low + high)
            above = middle + w @ u * np.tanh(middle + b) > z @ w
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        z = z - np.tanh(low + b)[:, None] * u
    return z


def test_a_shared_planar_flow_has_its_own_determinant_and_a_density(float64):
    """Away from the identity: log |det| by `jax.jacfwd`, and the density's integral over a grid."""
    head, variables = _shared_flow()
    rng = np.random.default_rng(2)
    variables = jax.tree.map(lambda a: a + 0.5 * rng.normal(size=a.shape), variables)
    flow = head.apply(variables, jnp.array([0.3, -0.4, 0.2, -0.5]))
    steps = np.linspace(-8.0, 8.0, 161)
    z = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    start = _start_of(flow, z)

    @jax.jit
    def look(points, few):
        jacobian = jax.vmap(jax.jacfwd(lambda z: flow.forward(z)[0]))(few)
        return *jax.vmap(flow.forward)(points), jacobian

    pushed, log_det, jacobian = jax.device_get(look(jnp.array(start), jnp.array(start[::1000])))
    np.testing.assert_allclose(pushed, z, atol=1e-9)
    sign, expected = np.linalg.slogdet(jacobian)
    np.testing.assert_array_equal(sign, 1.0)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(log_det[::1000], expected, rtol=1e-8, atol=1e-10)
    log_q = scipy.stats.norm(flow.mean, flow.stddev).logpdf(start).sum(axis=1) - log_det
    np.testing.assert_allclose(np.exp(log_q).sum() * (steps[1] - steps[0]) ** 2, 1.0, rtol=1e-4)


def test_what_an_auxiliary_flow_draws_its_variable_from():
    head = _head("auxiliary_flow", auxiliary_start="standard_normal", reverse_sizes=(7,))
    networks = _posterior(head, jnp.zeros(head.num_outputs)).networks
    assert set(networks) == {"reverse", "flows"}
    assert networks["reverse"][0]["kernel"].shape == (3, 7)


def _model(**changes):
    config = base_config()
    small = {"model.latent_size": 2, "model.hidden_sizes": (6,), "posterior.name": "diagonal"}
    config.update_from_flattened_dict({**small, **changes})
    model = models.build(config, (4, 4, 3))
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((4, 4, 3), np.float32))
    return params, jax.jit(model.apply, static_argnames="method")


def test_latent_scale_multiplies_the_mean_and_divides_the_decoders_input():
    params, plain = _model()
    _, scaled = _model(**{"model.latent_scale": 10.0})
    x, z = np.ones((4, 4, 3), np.float32), np.array([0.3, -0.4], np.float32)
    before = plain(params, x, method="encode")
    after = scaled(params, x, method="encode")
    np.testing.assert_allclose(after.mean, 10 * np.asarray(before.mean), rtol=1e-6)
    np.testing.assert_array_equal(after.stddev, before.stddev)
    decoded = scaled(params, 10 * z, method="decode")
    np.testing.assert_allclose(decoded, plain(params, z, method="decode"), rtol=1e-5)


def test_decoders_give_what_their_likelihood_takes():
    z = np.array([0.3, -0.4], np.float32)
    params, apply = _model(**{"likelihood.name": "heteroscedastic_gaussian"})
    mean, variance = jax.device_get(apply(params, z, method="decode"))
    assert mean.shape == variance.shape == (4, 4, 3)
    assert np.all(variance > 0.0)
    params, apply = _model(**{"likelihood.name": "discretized_logistic"})
    location, log_scale = jax.device_get(apply(params, z, method="decode"))
    assert location.shape == (4, 4, 3)
    assert np.all((location > 0.0) & (location < 1.0))  # where the pixels lie
    far = apply(params, 1e4 * z, method="decode")[0]
    assert (np.min(far), np.max(far)) == (0.0, 1.0)
    assert log_scale.shape == (3,)  # one a channel, learned from z
    other = apply(params, -z, method="decode")[1]
    assert np.all(np.asarray(other) != log_scale)
