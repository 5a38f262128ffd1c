"""Posterior heads: each family gets as many numbers as it needs, and in their places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import models, posteriors
from sfvae_jax.config import base_config

FAMILIES = {
    "none": posteriors.Point,
    "constant": posteriors.DiagonalGaussian,
    "diagonal": posteriors.DiagonalGaussian,
    "full_covariance": posteriors.FullCovarianceGaussian,
    "planar": posteriors.PlanarFlow,
    "iaf": posteriors.InverseAutoregressiveFlow,
    "auxiliary_flow": posteriors.AuxiliaryFlow,
}


def _head(family, **options):
    return models.PosteriorHead(family, 3, hidden_sizes=(5,), context_size=4, **options)


def _posterior(head, raw):
    return jax.jit(lambda raw: head.apply(head.init(jax.random.key(0), raw), raw))(raw)


def test_every_family_of_the_table_has_a_head():
    assert set(models.POSTERIORS) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_comes_first_and_every_output_counts(family):
    head = _head(family)
    raw = jnp.linspace(-1.0, 1.0, head.num_outputs)
    posterior = _posterior(head, raw)
    assert type(posterior) is FAMILIES[family]
    np.testing.assert_array_equal(posterior.mean, raw[:3])
    if family not in ("none", "constant"):

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
    head = models.PosteriorHead(family, 3, hidden_sizes=(5,), context_size=0)
    raw = jnp.zeros(head.num_outputs)
    params = jax.jit(head.init)(jax.random.key(0), raw)
    posterior = jax.jit(head.apply)(params, raw)
    assert head.num_outputs == 6
    assert posterior.context is None
    jax.tree.map(np.testing.assert_array_equal, posterior.networks, params["params"]["networks"])


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
