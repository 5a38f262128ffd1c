"""A model's decoder as a function: its form where it is known, and its dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import equations

from sfvae_jax import models, objectives
from sfvae_jax.config import base_config, resolve

Z = np.array([0.3, -0.7, 1.5], np.float32)


def _decoded(model, variables):
    decode = jax.jit(lambda variables, z: model.apply(variables, z, method="decode"))
    return jax.device_get(decode(variables, Z))


def _model(likelihood="gaussian", **changes):
    config = base_config()
    config.model.update({"latent_size": 3, "hidden_sizes": (7, 5), "latent_scale": 2.0, **changes})
    config.likelihood.name, config.objective.name = likelihood, "sampling"
    model = models.build(resolve(config), (4, 4, 1))
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((4, 4, 1)))
    # Biases start at zero, where a forgotten one would not show.
    return model, jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.1), variables)


@pytest.mark.parametrize("decoder_sizes", [None, (), (6,), (6, 5, 20)])
def test_an_mlp_is_a_dense_output(decoder_sizes):
    model, variables = _model(decoder_sizes=decoder_sizes)
    decode = models.decoder_function(model, variables)
    assert isinstance(decode, objectives.DenseOutput)
    expected = _decoded(model, variables)
    np.testing.assert_allclose(jax.jit(decode)(Z), expected, rtol=1e-6, atol=1e-6)


def test_a_sigmoid_is_part_of_the_dense_output():
    model, variables = _model(output_activation="sigmoid")
    decode = models.decoder_function(model, variables)
    assert isinstance(decode, objectives.DenseOutput)
    expected = 1.0 / (1.0 + np.exp(-_decoded(_model()[0], variables)))
    np.testing.assert_allclose(_decoded(model, variables), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(decode)(Z), expected, rtol=1e-5)
    low = jax.jit(models.cast_decoder_function(model, variables, "bfloat16"))(Z)
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(np.float32), expected, atol=0.02)


def test_a_sigmoid_leaves_a_learned_variance_alone():
    model, variables = _model("heteroscedastic_gaussian", output_activation="sigmoid")
    linear, _ = _model("heteroscedastic_gaussian")
    mean, variance = _decoded(linear, variables)
    expected = 1.0 / (1.0 + np.exp(-mean)), variance
    for got, want in zip(_decoded(model, variables), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_other_likelihoods_decode_as_the_model_does():
    model, variables = _model("heteroscedastic_gaussian")
    decode = models.decoder_function(model, variables)
    assert not isinstance(decode, objectives.DenseOutput)
    expected = _decoded(model, variables)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(decode)(Z), expected)


@pytest.mark.parametrize("lowering", ["native", "patches"])
@pytest.mark.parametrize("name", ["mlp", "conv", "conv_bn"])
def test_in_bfloat16_every_product_is_of_bfloat16(name, lowering):
    config = base_config()
    config.model.lowering = lowering
    config.model.update({"name": name, "latent_size": 3, "hidden_sizes": (7, 5)})
    if name != "mlp":
        config.model.channels = (4, 4)
    shape = {"mlp": (4, 4, 1), "conv": (8, 8, 1), "conv_bn": (16, 16, 1)}[name]
    model = models.build(resolve(config), shape)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros(shape))
    assert models.cast_decoder_function(model, variables, "float32") is None
    decode = models.cast_decoder_function(model, variables, "bfloat16")
    full = _decoded(model, variables)
    np.testing.assert_allclose(jax.jit(decode)(Z), full, rtol=0, atol=0.03 * np.abs(full).max())
    # The operands of each product, of a tangent pass too.
    jaxpr = jax.make_jaxpr(lambda z, t: jax.jvp(decode, (z,), (t,)))(Z, Z).jaxpr
    products = [eqn for eqn in equations(jaxpr) if eqn.primitive.name in PRODUCTS]
    assert len(products) >= 5
    assert {v.aval.dtype for eqn in products for v in eqn.invars} == {jnp.dtype("bfloat16")}


PRODUCTS = ("dot_general", "conv_general_dilated", "correlate", "rows")
