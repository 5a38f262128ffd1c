"""`model.initializer` and `model.output_activation` reach every network of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import models
from sfvae_jax.config import base_config

SIZES = {  # side of the image, settings
    "mlp": (4, {}),
    "conv": (8, {"channels": (4, 6)}),
    "conv_bn": (16, {"channels": (4, 6)}),
    "conv_elu": (8, {"channels": (4, 6), "activation": "elu"}),
}
# Transposed convolutions: the kernel is multiplied by the stride, or by k where it meets one pixel.
FACTORS = {"conv": (4, 2), "conv_bn": (2, 1), "conv_elu": (2, 2)}
IMAGE_MODELS = [name for name, spec in models.MODELS.items() if not spec.of_sequences]


def _build(name, **changes):
    side, settings = SIZES[name]
    config = base_config()
    config.posterior.name = "diagonal"
    config.model.update({"name": name, "latent_size": 3, "hidden_sizes": (5,), **settings})
    config.model.update(changes)
    return models.build(config, (side, side, 1)), (side, side, 1)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_kernels_of_all_layers_are_the_initializers_and_biases_zero(name, monkeypatch):
    """Under one that gives ones: hidden layers, heads and outputs of both networks."""
    ones = lambda rng, shape, dtype=jnp.float32: jnp.ones(shape, dtype)  # noqa: E731
    monkeypatch.setitem(models.INITIALIZERS, "he_normal", ones)
    model, shape = _build(name, initializer="he_normal")
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros(shape))["params"]
    seen = 0
    for network, layers in params.items():
        for layer, weights in layers.items():
            if layer.startswith("BatchNorm"):
                continue
            of_kernel = 1.0
            if network == "decoder" and layer.startswith("Convolution"):
                of_kernel = FACTORS[name][int(layer.rpartition("_")[2])]
            np.testing.assert_array_equal(weights["kernel"], of_kernel)
            np.testing.assert_array_equal(weights.get("bias", 0.0), 0.0)
            seen += 1
    assert seen == {"mlp": 4, "conv": 6, "conv_bn": 6, "conv_elu": 6}[name]


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_a_sigmoid_ends_every_decoder(name):
    linear, shape = _build(name)
    model, _ = _build(name, output_activation="sigmoid")
    variables = jax.jit(linear.init)(jax.random.key(0), jnp.zeros(shape))
    z = jnp.array([0.3, -0.7, 1.5])
    outputs, decoded = jax.jit(
        lambda variables: [m.apply(variables, z, method="decode") for m in (linear, model)]
    )(variables)
    expected = 1.0 / (1.0 + np.exp(-np.asarray(outputs)))
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(decoded, expected, rtol=1e-5)
