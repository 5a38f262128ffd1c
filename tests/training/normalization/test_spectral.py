"""A spectrally normalised decoder, against NumPy's singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import parallel_steps

from sfvae_jax import data, models
from sfvae_jax.config import resolve
from sfvae_jax.objectives import spectral_normalize
from sfvae_jax.training.normalization.spectral import start_vectors
from sfvae_jax.training.state import create_state, make_optimizer


def _largest(kernel):
    return np.linalg.svd(np.reshape(kernel, (-1, kernel.shape[-1])), compute_uv=False)[0]


def test_every_kernel_of_the_decoder_and_nothing_else(keys):
    shapes = {
        "decoder": {"Dense_0": (3, 5), "Conv_0": (3, 3, 2, 4)},
        "encoder": {"Dense_0": (4, 3)},
    }
    params = {
        "params": {
            network: {
                layer: {
                    "kernel": jax.random.normal(next(keys), shape),
                    "bias": jax.random.normal(next(keys), shape[-1:]),
                }
                for layer, shape in layers.items()
            }
            for network, layers in shapes.items()
        }
    }
    vectors = start_vectors(next(keys), params)
    assert set(vectors) == {"params/decoder/Dense_0/kernel", "params/decoder/Conv_0/kernel"}
    normalized, _ = spectral_normalize(params, vectors, num_iterations=100)
    for layer in ("Dense_0", "Conv_0"):
        found, raw = (tree["params"]["decoder"][layer] for tree in (normalized, params))
        np.testing.assert_allclose(
            found["kernel"] * _largest(raw["kernel"]), raw["kernel"], rtol=1e-5
        )
        np.testing.assert_array_equal(found["bias"], raw["bias"])
    jax.tree.map(
        np.testing.assert_array_equal, normalized["params"]["encoder"], params["params"]["encoder"]
    )


def test_no_vectors_no_change():
    params = {"params": {"decoder": {"kernel": jnp.full((2, 2), 3.0)}}}
    same, vectors = spectral_normalize(params, {})
    np.testing.assert_array_equal(same["params"]["decoder"]["kernel"], 3.0)
    assert vectors == {}


def test_one_iteration_a_step_follows_the_weights(tiny_config):
    """After 60 steps of training the decoder's singular values are 1 to 1%."""
    changes = {"objective.name": "rae_sn", "model.hidden_sizes": (16, 8)}
    config = resolve(tiny_config(**changes, **{"train.learning_rate": 1e-2}))
    images = np.random.default_rng(0).integers(0, 256, (24, 6, 5), np.uint8)
    model = models.build(config, (6, 5))
    optimizer = make_optimizer(config.train)
    steps = parallel_steps(config, model, optimizer, images, 24)
    state = steps.place(create_state(config, model, optimizer, (6, 5)))
    before = jax.device_get(state.params)["params"]["decoder"]
    state, _ = steps(state, data.batch_indices(0, 24, 24, 0, 60))
    params, _ = jax.device_get(jax.jit(spectral_normalize)(state.params, state.vectors))
    for layer, leaf in params["params"]["decoder"].items():
        assert _largest(leaf["kernel"]) == pytest.approx(1.0, abs=0.01)
        moved = np.abs(state.params["params"]["decoder"][layer]["kernel"] - before[layer]["kernel"])
        assert moved.max() > 0.05
