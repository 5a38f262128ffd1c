"""Which parameters decay, and the clipping of the gradient, written out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import parallel_steps

from sfvae_jax import models
from sfvae_jax.config import base_config, resolve
from sfvae_jax.training.state import create_state, make_optimizer
from sfvae_jax.training.updates.transformation import decay_mask

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 6, 5), np.uint8)


def _parameters(shape, **changes):
    """The parameters of a model by name, and whether they decay."""
    config = base_config()
    config.update_from_flattened_dict({"model.latent_size": 3, "model.hidden_sizes": (7,)})
    config.update_from_flattened_dict(changes)
    model = models.build(resolve(config), shape)
    example = jax.ShapeDtypeStruct(shape, model.data_dtype)
    tree = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), example)
    params = {"params": tree["params"]}
    decays = jax.tree.leaves_with_path(decay_mask()(params))
    shapes = jax.tree.leaves(params)
    return {jax.tree_util.keystr(p): (d, x.shape) for (p, d), x in zip(decays, shapes, strict=True)}


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((6, 5), {"likelihood.name": "discretized_logistic", "objective.name": "sampling"}),
        ((16, 16, 1), {"model.name": "conv_bn", "model.channels": (4, 6)}),
    ],
)
def test_kernels_decay_and_nothing_else(shape, changes):
    """By their names: not biases, nor the scales and shifts of BatchNorm."""
    found = _parameters(shape, **changes)
    assert {name.endswith("['kernel']") for name in found} == {True, False}
    for name, (decays, _) in found.items():
        assert decays == name.endswith("['kernel']"), name


@pytest.mark.parametrize("changes", [{"name": "iaf"}, {"name": "planar", "amortized_flow": False}])
def test_flows_do_not_decay(changes):
    """Neither the kernels of their networks nor a matrix of vectors that all examples share."""
    changes = {f"posterior.{key}": value for key, value in changes.items()}
    found = _parameters((6, 5), **changes, **{"objective.name": "sampling"})
    of_flow = {name: decays for name, (decays, _) in found.items() if "['head']" in name}
    assert any(len(found[name][1]) == 2 for name in of_flow)
    assert not any(of_flow.values())
    assert found["['params']['encoder']['Dense_0']['kernel']"][0]


def _config(tiny_config, **changes):
    changes = {f"train.{key}": value for key, value in changes.items()}
    return resolve(tiny_config(**{"objective.name": "sampling", "train.log_every": 1, **changes}))


def _step(config, num_devices=1, optimizer=None):
    """Parameters before and after one step, and its metrics."""
    model = models.build(config, (6, 5))
    optimizer = optimizer or make_optimizer(config.train)
    steps = parallel_steps(config, model, optimizer, IMAGES, len(IMAGES), num_devices)
    state = create_state(config, model, optimizer, (6, 5))
    # Biases begin at 0, where a decay would not show.
    params = jax.tree.map(lambda leaf: leaf + 0.1, state.params)
    before = jax.device_get(params)
    state = steps.place(dataclasses.replace(state, params=params))
    state, metrics = steps(state, np.arange(len(IMAGES))[None])
    return before, jax.device_get(state.params), jax.device_get(metrics)


def test_clipping_scales_the_whole_gradient_of_all_devices(tiny_config):
    """Its norm over all parameters becomes the limit; a limit above the norm changes nothing."""
    before, after, metrics = _step(_config(tiny_config), optimizer=optax.sgd(1.0))
    gradient = jax.tree.map(lambda old, new: np.float64(old) - new, before, after)
    norm = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(metrics["grad_norm"][0], norm, rtol=1e-4)
    clipped = {"optimizer": "sgd", "learning_rate": 1.0}
    for limit, num_devices, factor in ((norm / 3, 2, 1 / 3), (norm * 1.01, 1, 1.0)):
        config = _config(tiny_config, **clipped, clip_norm=float(limit))
        before, after, metrics = _step(config, num_devices)
        np.testing.assert_allclose(metrics["grad_norm"][0], norm, rtol=1e-4)
        for old, new, g in zip(*map(jax.tree.leaves, (before, after, gradient)), strict=True):
            np.testing.assert_allclose(old - new, factor * g, rtol=1e-3, atol=1e-4 * norm)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_decay_comes_after_clipping_and_is_of_kernels(tiny_config, optimizer):
    """The difference between two steps, with decay and without, is -rate * decay * kernel."""
    changes = {"optimizer": optimizer, "learning_rate": 1e-2, "clip_norm": 1e-3}
    without, with_decay = (
        _step(_config(tiny_config, **changes, weight_decay=decay)) for decay in (0.0, 0.5)
    )

    def check(path, start, plain, decayed):
        factor = 1e-2 * 0.5 if path[-1].key == "kernel" else 0.0
        np.testing.assert_allclose(decayed - plain, -factor * start, atol=1e-7, rtol=1e-4)

    jax.tree.map_with_path(check, without[0], without[1], with_decay[1])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "lamb", "adafactor", "lion"])
def test_a_decoder_that_is_not_trained_does_not_decay(tiny_config, optimizer):
    config = _config(tiny_config, optimizer=optimizer, weight_decay=0.5, decoder_from="a_run")
    optimizer, kernel = make_optimizer(config.train), {"Dense_0": {"kernel": jnp.ones((3, 2))}}
    params = {"params": {name: kernel for name in ("encoder", "decoder", "decoder_scales")}}
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    moved = {name: np.abs(u["Dense_0"]["kernel"]).max() for name, u in updates["params"].items()}
    assert moved["encoder"] > 0
    assert moved["decoder"] == moved["decoder_scales"] == 0
