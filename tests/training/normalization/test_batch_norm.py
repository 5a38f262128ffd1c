"""BatchNorm under per-example objectives: against PyTorch, on one device and two, and on disk."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import parallel_steps

from sfvae_jax import data, models, objectives
from sfvae_jax.config import base_config, resolve
from sfvae_jax.measuring.trained import trained_model
from sfvae_jax.runs.checkpoints.saving import Checkpoints
from sfvae_jax.training.normalization.batch_norm import batch_moments, moving_average
from sfvae_jax.training.state import create_state

SHAPE = (16, 16, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (24, *SHAPE), np.uint8)


def _config(**changes):
    config = base_config()
    config.model.name, config.model.channels, config.model.latent_size = "conv_bn", (4, 6), 3
    config.model.lowering = "native"  # compiles faster
    config.train.batch_size, config.train.moments_decay = 8, 0.9
    config.update_from_flattened_dict(changes)
    return resolve(config)


def _start(config, num_devices=1, state=None):
    """Model, steps, and a state to begin with: the one given, or a new one."""
    model = models.build(config, SHAPE)
    optimizer = optax.sgd(1e-3)
    steps = parallel_steps(config, model, optimizer, IMAGES, 8, num_devices)
    return model, steps, steps.place(state or create_state(config, model, optimizer, SHAPE))


def _moments(model, variables, x):
    @jax.jit
    def take(variables, x):
        return batch_moments(model, variables, jax.random.key(0), x, at_center=True, axis_name=None)

    return take(variables, x)


def _variables(state):
    return jax.device_get({**state.params, "batch_stats": state.batch_stats})


@pytest.mark.slow  # two processes take them by default
@pytest.mark.parametrize(
    "objective",
    [
        "sampling_free",
        pytest.param("sampling", marks=pytest.mark.slow),
        pytest.param("rae_sn", marks=pytest.mark.slow),
        pytest.param("wae_mmd", marks=pytest.mark.slow),
    ],
)
def test_two_devices_take_the_steps_of_one(objective):
    """Moments, gradients through them and running averages; batches of 8, after 4 steps."""
    config = _config(**{"objective.name": objective})
    indices = data.batch_indices(0, 24, 8, 0, 4)
    results, start = [], None
    for num_devices in (1, 2):
        _, steps, state = _start(config, num_devices, start)
        start = jax.device_get(state)
        state, metrics = steps(state, indices)
        results.append(jax.device_get((state.params, state.batch_stats, metrics)))
    # Biases before a BatchNorm have no gradient but rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), *results)


def test_running_averages_follow_the_moments():
    config = _config(**{"objective.name": "rae"})
    model, steps, state = _start(config)
    indices = data.batch_indices(0, 24, 8, 0, 2)
    expected = jax.device_get(state.batch_stats)
    for step in range(2):
        x = jnp.asarray(IMAGES[indices[step]] / np.float32(255))
        moments = _moments(model, _variables(state), x)
        decay = (1 + step) / (10 + step)  # below 0.9 for the first steps
        expected = jax.tree.map(
            lambda old, new, d=decay: d * old + (1 - d) * new, expected, moments
        )
        state, _ = steps(state, indices[step : step + 1])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        jax.device_get(state.batch_stats),
        expected,
    )
    late = moving_average({"mean": jnp.ones(2)}, {"mean": jnp.zeros(2)}, 10_000, 0.9)
    np.testing.assert_allclose(late["mean"], 0.9, rtol=1e-6)


@pytest.fixture(scope="module")
def autoencoder():
    """Model, variables and a batch, and the same in PyTorch in training mode."""
    torch = pytest.importorskip("torch")
    model = models.build(_config(**{"objective.name": "rae"}), SHAPE)
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros(SHAPE))
    # Scales and shifts away from 1 and 0, so that they matter.
    leaves, tree = jax.tree.flatten(variables["params"])
    keys = jax.random.split(jax.random.key(2), len(leaves))
    noisy = [
        leaf + 0.1 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    variables = {**variables, "params": jax.tree.unflatten(tree, noisy)}
    return torch, model, variables, jnp.asarray(IMAGES[:6] / np.float32(255))


def _torch_forward(torch, params, x):
    """Reconstructions of a batch [N, C, H, W], with the moments of the batch."""
    norm = torch.nn.functional.batch_norm

    def block(x, layer, scales, transposed=False, stride=2):
        kernel, bias = layer["kernel"], layer.get("bias")
        if not transposed:
            x = torch.nn.functional.conv2d(
                x, kernel.permute(3, 2, 0, 1), bias, stride=stride, padding=1
            )
        else:
            turned = kernel.flip(0, 1).permute(2, 3, 0, 1)
            cut = 1 if stride == 2 else 0
            x = torch.nn.functional.conv_transpose2d(x, turned, bias, stride=stride, padding=cut)
            if stride == 1:
                x = x[..., 1:-2, 1:-2]  # k - 1 = 3 pixels more than SAME keeps
        if scales is None:
            return x
        return torch.relu(
            norm(x, None, None, scales["scale"], scales["bias"], training=True, eps=1e-5)
        )

    encoder, decoder = params["encoder"], params["decoder"]
    for i in range(2):
        x = block(x, encoder[f"Convolution_{i}"], encoder[f"BatchNorm_{i}"])
    x = x.permute(0, 2, 3, 1).flatten(1) @ encoder["Dense_0"]["kernel"] + encoder["Dense_0"]["bias"]
    x = x @ decoder["Dense_0"]["kernel"] + decoder["Dense_0"]["bias"]
    x = x.reshape(len(x), 8, 8, -1).permute(0, 3, 1, 2)
    scales = decoder["BatchNorm_0"]
    x = torch.relu(norm(x, None, None, scales["scale"], scales["bias"], training=True, eps=1e-5))
    x = block(x, decoder["Convolution_0"], decoder["BatchNorm_1"], transposed=True)
    return block(x, decoder["Convolution_1"], None, transposed=True, stride=1)


def test_value_and_gradient_are_pytorchs(autoencoder):
    """Squared error of a batch; the gradient goes through the moments."""
    torch, model, variables, x = autoencoder

    def loss(params):
        given = {**variables, "params": params}
        moments = batch_moments(model, given, jax.random.key(0), x, at_center=True, axis_name=None)

        def error(x):
            frozen = {"params": params, "batch_stats": moments}
            code = model.apply(frozen, x, method="encode").mean
            return jnp.sum(jnp.square(model.apply(frozen, code, method="decode") - x))

        return jnp.mean(jax.vmap(error)(x))

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    params = jax.tree.map(
        lambda leaf: torch.tensor(np.asarray(leaf), dtype=torch.float64, requires_grad=True),
        variables["params"],
    )
    batch = torch.tensor(np.asarray(x), dtype=torch.float64).permute(0, 3, 1, 2)
    expected = (_torch_forward(torch, params, batch) - batch).square().sum() / len(batch)
    expected.backward()
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-5)
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(gradient))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b.grad.numpy(), rtol=1e-3, atol=1e-5 * largest),
        gradient,
        params,
    )


def test_a_jacobian_is_of_its_own_example():
    """With the moments given, an example's Jacobian does not feel the rest of the batch."""
    config = _config(**{"objective.name": "rae", "model.activation": "tanh"})
    model, x = models.build(config, SHAPE), jnp.asarray(IMAGES[:6] / np.float32(255))
    variables = jax.jit(model.init)(jax.random.key(1), x[0])
    moments = _moments(model, variables, x)
    frozen = {**variables, "batch_stats": moments}

    @jax.jit
    def decode(z):
        return model.apply(frozen, z, method="decode")

    codes = jax.jit(jax.vmap(lambda x: model.apply(frozen, x, method="encode").mean))(x)
    together = jax.jit(jax.vmap(lambda z: objectives.decoder_jacobian(decode, z)[1]))(codes)
    for place in range(3):
        unit = 1e-2 * jax.nn.one_hot(place, 3)
        numeric = (decode(codes[0] + unit) - decode(codes[0] - unit)).ravel() / 2e-2
        np.testing.assert_allclose(together[0][:, place], numeric, rtol=1e-2, atol=1e-3)
    alone = jax.jit(lambda z: objectives.decoder_jacobian(decode, z)[1])(codes[0])
    np.testing.assert_allclose(together[0], alone, rtol=1e-4, atol=1e-5)


def test_evaluation_uses_the_running_averages_of_the_checkpoint(tmp_path):
    config = _config(**{"objective.name": "rae"})
    model, steps, fresh = _start(config)
    state, _ = steps(fresh, data.batch_indices(0, 24, 8, 0, 5))
    with Checkpoints(tmp_path / "checkpoints", 1) as checkpoints:
        checkpoints.save(state)
    _, steps, like = _start(config)
    with Checkpoints(tmp_path / "checkpoints", 1) as checkpoints:
        restored = checkpoints.restore(like)
    jax.tree.map(np.testing.assert_array_equal, state.batch_stats, restored.batch_stats)

    def decoded(state):
        trained = trained_model(config, model, state, IMAGES)
        return trained.map_images(
            lambda params, x, key: trained.reconstruct(params, trained.encode(params, x).center())
        )

    averages = {**state.params, "batch_stats": state.batch_stats}
    x = jnp.asarray(IMAGES[0] / np.float32(255))

    @jax.jit
    def rebuild(x):
        return model.apply(
            averages, model.apply(averages, x, method="encode").mean, method="decode"
        )

    expected = rebuild(x)
    np.testing.assert_allclose(decoded(restored)[0], expected, rtol=1e-4, atol=1e-5)
    others = dataclasses.replace(
        restored, batch_stats=jax.tree.map(jnp.ones_like, restored.batch_stats)
    )
    assert not np.allclose(decoded(others)[0], expected, atol=1e-2)
