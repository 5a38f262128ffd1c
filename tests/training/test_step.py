"""The train step: one device or two, its noise, its gradient."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import parallel_steps

from sfvae_jax import data, likelihoods, models, objectives
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.training.parallel import AXIS_NAME
from sfvae_jax.training.state import create_state, make_keys
from sfvae_jax.training.step import NOT_RECORDED, make_train_step

SHAPE = (6, 5)


def _steps(config, num_devices, *, num_images=24, optimizer=None, state=None):
    """The steps, and a state to begin with: the one given, or a new one."""
    images = np.random.default_rng(0).integers(0, 256, (num_images, *SHAPE), np.uint8)
    config = resolve(config)
    model = models.build(config, SHAPE)
    optimizer = optimizer or optax.adam(1e-2)
    size = config.train.batch_size or num_images
    steps = parallel_steps(config, model, optimizer, images, size, num_devices)
    return steps, steps.place(state or create_state(config, model, optimizer, SHAPE))


@pytest.mark.parametrize(
    "changes",
    [
        {"objective.name": "sampling", "train.batch_size": 0},
        {"objective.name": "sampling_free"},
        pytest.param({"objective.name": "constant_variance"}, marks=pytest.mark.slow),
        {"objective.name": "bilbo_baggins"},
        {"objective.name": "wae_mmd"},
        pytest.param(
            {"objective.name": "rae_sn", "data.binarization": "dynamic"}, marks=pytest.mark.slow
        ),
        {
            "objective.name": "sampling",
            "objective.free_bits": 0.1,
            "objective.free_bits_of_batch": True,
        },
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_two_devices_take_the_steps_of_one(tiny_config, changes):
    """Same noise, same batch statistics: metrics and parameters agree to 1e-5 after 20 steps."""
    config = tiny_config(**{"train.batch_size": 8, "train.log_every": 1, **changes})
    indices = data.batch_indices(0, 24, config.train.batch_size or 24, 0, 20)
    results, start = [], None
    for num_devices in (1, 2):
        steps, state = _steps(config, num_devices, state=start)
        start = jax.device_get(state)
        state, metrics = steps(state, indices)
        results.append(jax.device_get((state.params, state.vectors, metrics)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), *results)
    assert int(state.step) == 20


def test_norms_are_there_where_they_are_recorded(tiny_config):
    """At the first step, the last and every fifth; a loss is there always."""
    config = tiny_config(**{"train.steps": 12, "train.log_every": 5})
    steps, state = _steps(config, 1)
    _, metrics = steps(state, data.batch_indices(0, 24, 24, 0, 12))
    recorded = [number in (1, 5, 10, 12) for number in range(1, 13)]
    assert np.isfinite(metrics["loss"]).all()
    for norm in ("grad_norm", "param_norm"):
        assert np.isfinite(metrics[norm]).all()  # JAX_DEBUG_NANS lets all pass
        np.testing.assert_array_equal(metrics[norm] != NOT_RECORDED, recorded)


def test_noise_belongs_to_the_place_in_the_batch(tiny_config):
    """The loss at step s is the mean over i of the ELBO with key fold_in(fold_in(rng, s), i)."""
    config = tiny_config(**{"objective.name": "sampling"})
    steps, state = _steps(config, 2)
    params = jax.device_get(state.params)
    indices = data.batch_indices(0, 24, 24, 0, 1)
    _, metrics = steps(state, indices)

    images = np.random.default_rng(0).integers(0, 256, (24, *SHAPE), np.uint8)
    model = models.build(resolve(config), SHAPE)
    step_rng = jax.random.fold_in(make_keys(config.seed).training, 0)

    @jax.jit
    def value(place, x):
        return objectives.sampling_elbo(
            jax.random.fold_in(step_rng, place),
            lambda z: model.apply(params, z, method="decode"),
            x,
            model.apply(params, x, method="encode"),
            likelihoods.Gaussian(config.likelihood.variance),
        ).value

    batch = images[indices[0]] / np.float32(255)
    values = [value(place, x) for place, x in enumerate(batch)]
    np.testing.assert_allclose(metrics["loss"][0], -np.mean(values), rtol=1e-5)


def test_many_steps_in_a_call_are_the_same_steps(tiny_config):
    config = tiny_config(**{"objective.name": "sampling", "train.batch_size": 8})
    indices = data.batch_indices(0, 24, 8, 0, 6)
    steps, state = _steps(config, 1)
    start = jax.device_get(state)
    together, _ = steps(state, indices)
    state = steps.place(start)
    for index in indices:
        state, _ = steps(state, index[None])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        *jax.device_get((together.params, state.params)),
    )


def test_gamma_follows_its_schedule(tiny_config):
    config = tiny_config(
        **{
            "objective.name": "sampling_free",
            "objective.gamma_schedule": "piecewise",
            "objective.gamma_values": (0.9, 0.7, 0.5),
            "train.steps": 6,
        }
    )
    steps, state = _steps(config, 1)
    _, metrics = steps(state, data.batch_indices(0, 24, 24, 0, 6))
    np.testing.assert_allclose(metrics["gamma"], [0.9, 0.9, 0.7, 0.7, 0.5, 0.5], rtol=1e-6)


def test_annealing_follows_its_schedules(tiny_config):
    """The loss of step s is -(log_likelihood + beta_s (log_prior + lambda_s entropy))."""
    ramps = {
        "objective.name": "sampling",
        "objective.beta_schedule": "cyclic",
        "objective.beta": 2.0,
        "objective.beta_cycles": 2,
        "objective.entropy_schedule": "linear",
        "train.steps": 8,
    }
    steps, state = _steps(tiny_config(**ramps), 1)
    metrics = jax.device_get(steps(state, data.batch_indices(0, 24, 24, 0, 8))[1])
    np.testing.assert_allclose(metrics["beta"], [0, 1, 2, 2, 0, 1, 2, 2], rtol=1e-6)
    np.testing.assert_allclose(metrics["entropy_weight"], np.arange(8) / 8, rtol=1e-6)
    # Where beta is 0 the loss is the log likelihood alone.
    np.testing.assert_allclose(metrics["loss"][[0, 4]], -metrics["log_likelihood"][[0, 4]])
    assert abs(metrics["loss"][2] - metrics["kl"][2] * 2 + metrics["log_likelihood"][2]) > 0.1


def test_dynamic_binarisation_draws_anew_at_every_step(tiny_config):
    """A model that does not learn (rate 1e-30) on the same grey images: no two losses alike."""
    losses = {}
    for kind in ("none", "dynamic"):
        config = tiny_config(**{"objective.name": "autoencoder", "data.binarization": kind})
        steps, state = _steps(config, 1, optimizer=optax.sgd(1e-30))
        _, metrics = steps(state, data.batch_indices(0, 24, 24, 0, 5))
        losses[kind] = np.array(metrics["loss"])
    np.testing.assert_allclose(losses["none"], losses["none"][0], rtol=1e-6)
    assert len(np.unique(losses["dynamic"])) == 5


def test_data_scale_multiplies_the_pixels(tiny_config):
    """The loss of a model that gives nothing is the squared norm of its data, 9 times at 3."""
    losses = []
    for scale in (1.0, 3.0):
        config = tiny_config(**{"objective.name": "autoencoder", "data.scale": scale})
        steps, state = _steps(config, 1)
        silent = jax.tree.map(jnp.zeros_like, state.params)
        state = steps.place(dataclasses.replace(state, params=silent))
        losses.append(steps(state, data.batch_indices(0, 24, 24, 0, 1))[1]["loss"][0])
    np.testing.assert_allclose(losses[1], 9 * losses[0], rtol=1e-5)


def test_gradient_is_that_of_the_mean_loss(tiny_config):
    """One step of plain gradient descent lowers the loss by rate * |gradient|^2, to first order."""
    rate = 1e-5
    config = tiny_config(**{"objective.name": "sampling_free"})  # draws no noise
    steps, state = _steps(config, 2, optimizer=optax.sgd(rate))
    _, metrics = steps(state, data.batch_indices(0, 24, 24, 0, 2))
    expected = rate * float(metrics["grad_norm"][0]) ** 2
    np.testing.assert_allclose(metrics["loss"][0] - metrics["loss"][1], expected, rtol=0.1)


def test_a_batch_that_does_not_divide_is_refused(tiny_config):
    with pytest.raises(UsageError, match="a batch of 7 cannot be shared evenly by 2 devices"):
        _steps(tiny_config(**{"train.batch_size": 7}), 2)


@pytest.mark.parametrize(
    ("precision", "asked"),
    [("float32", "HIGHEST"), ("tensorfloat32", "HIGH"), ("bfloat16", "DEFAULT")],
)
def test_layers_are_multiplied_as_asked_and_systems_in_full(tiny_config, precision, asked):
    """6 images of 30 pixels, 4 latents: each image's 4 x 4, and the encoder's first 30 x 8.

    With the products of accelerators; a CPU's have one precision.
    """
    changes = {"train.matmul_precision": precision, "model.lowering": "native"}
    config = resolve(tiny_config(**changes, **{"objective.name": "sampling_free"}))
    model, optimizer = models.build(config, SHAPE), optax.adam(1e-2)
    step = make_train_step(config, model, optimizer, axis_name=AXIS_NAME)
    step = jax.vmap(step, in_axes=(None, 0, None), out_axes=None, axis_name=AXIS_NAME)
    state = create_state(config, model, optimizer, SHAPE)
    images = np.zeros((1, 6, *SHAPE), np.uint8)
    text = jax.jit(step).lower(state, images, make_keys(config.seed).training).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    systems = [line for line in products if "6x4x4xf32" in line]
    layers = [line for line in products if re.search("[<x]6x30xf32>, tensor<30x8xf32>", line)]
    assert systems
    assert layers
    assert all("[HIGHEST, HIGHEST]" in line for line in systems)
    assert not [line for line in layers if f"[{asked}, {asked}]" not in line]
