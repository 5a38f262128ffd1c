"""The fully connected model against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import models
from sfvae_jax.config import base_config


def _build(**changes):
    """A model for examples [4, 3, 1]; `changes` are keys of a config."""
    config = base_config()
    small = {"model.latent_size": 3, "model.hidden_sizes": (8, 5), "posterior.name": "diagonal"}
    config.update_from_flattened_dict({**small, **changes})
    return models.build(config, (4, 3, 1))


def _numpy_mlp(layers, x, activation):
    for i in range(len(layers)):
        layer = layers[f"Dense_{i}"]
        x = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        x = activation(x) if i < len(layers) - 1 else x
    return x


@pytest.mark.parametrize(
    ("name", "activation"), [("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh)]
)
def test_encoder_and_decoder_are_the_papers_layers(keys, name, activation):
    model = _build(**{"model.activation": name})
    x = jax.random.uniform(next(keys), (4, 3, 1))
    params = model.init(next(keys), x)
    networks = params["params"]
    sizes = [networks["encoder"][f"Dense_{i}"]["kernel"].shape for i in range(3)]
    assert sizes == [(12, 8), (8, 5), (5, 6)]
    sizes = [networks["decoder"][f"Dense_{i}"]["kernel"].shape for i in range(3)]
    assert sizes == [(3, 5), (5, 8), (8, 12)]

    posterior = model.apply(params, x, method="encode")
    mean, log_variance = np.split(_numpy_mlp(networks["encoder"], x.ravel(), activation), 2)
    np.testing.assert_allclose(posterior.mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(posterior.stddev**2, np.exp(log_variance), rtol=1e-4)
    z = jnp.array([0.5, -1.0, 2.0])
    decoded = model.apply(params, z, method="decode")
    assert decoded.shape == (4, 3, 1)
    expected = _numpy_mlp(networks["decoder"], z, activation)
    np.testing.assert_allclose(decoded.ravel(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("inwards", "outwards", "expected"),
    [
        ((8, 5), (), [(3, 12)]),
        ((), (7, 6), [(3, 7), (7, 6), (6, 12)]),
        ((), None, [(3, 12)]),
        ((8,), (9, 9, 7, 5), [(3, 9), (9, 9), (9, 7), (7, 5), (5, 12)]),
    ],
)
def test_a_decoder_may_have_its_own_sizes(inwards, outwards, expected):
    model = _build(**{"model.hidden_sizes": inwards, "model.decoder_sizes": outwards})
    networks = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((4, 3, 1)))["params"]
    sizes = {
        part: [layers[f"Dense_{i}"]["kernel"].shape for i in range(len(layers))]
        for part, layers in networks.items()
    }
    assert sizes["decoder"] == expected
    widths = (12, *inwards, 6)
    assert sizes["encoder"] == list(itertools.pairwise(widths))


@pytest.mark.parametrize(
    ("name", "variance"), [("lecun_normal", 1.0), ("he_normal", 2.0), ("torch_uniform", 1 / 3)]
)
def test_initial_variance_times_fan_in(keys, name, variance):
    """256 x 512 weights: their variance is known to about 0.4% (a deviation)."""
    model = models.Mlp((512,), initializer=name)
    params = model.init(next(keys), jnp.zeros(256))["params"]["Dense_0"]
    np.testing.assert_allclose(np.var(params["kernel"]) * 256, variance, rtol=0.02)
    np.testing.assert_array_equal(params["bias"], 0.0)


def test_he_normal_is_not_truncated(keys):
    """The largest of 131,072 standard normal draws: 4.4 (a cut at two deviations ends at 2.3)."""
    kernel = models.INITIALIZERS["he_normal"](next(keys), (256, 512))
    assert np.abs(kernel).max() > 3.5 * np.sqrt(2.0 / 256)


def test_count_parameters():
    model = _build()
    params = model.init(jax.random.key(0), jnp.zeros((4, 3, 1)))
    encoder = 12 * 8 + 8 + 8 * 5 + 5 + 5 * 6 + 6
    decoder = 3 * 5 + 5 + 5 * 8 + 8 + 8 * 12 + 12
    assert models.count_parameters(params) == encoder + decoder
