"""Layers of the convolutional models, counted by hand from the papers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import models
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.models.convolutional.conv import sets_first
from sfvae_jax.train import train


def _model(name, shape, latent_size, **changes):
    config = base_config()
    config.model.name, config.model.latent_size = name, latent_size
    config.update_from_flattened_dict(changes)
    return models.build(resolve(config), shape)


def _shapes(model, shape):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    return jax.tree.map(lambda leaf: leaf.shape, variables, is_leaf=lambda x: hasattr(x, "shape"))


def _count(model, shape):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    return models.count_parameters(variables["params"])


def _conv(size, into, out):
    return size * size * into * out + out


@pytest.mark.parametrize("channels", [1, 3])
def test_conv_is_the_network_of_higgins(channels):
    shape, m = (64, 64, channels), 32
    model = _model("conv", shape, m)
    encoder = (
        _conv(4, channels, 32)
        + _conv(4, 32, 32)
        + _conv(4, 32, 64)
        + _conv(4, 64, 64)
        + _conv(4, 64, 256)
        + 256 * 2 * m
        + 2 * m
    )
    decoder = (
        m * 256
        + 256
        + _conv(4, 256, 64)
        + _conv(4, 64, 64)
        + _conv(4, 64, 32)
        + _conv(4, 32, 32)
        + _conv(4, 32, channels)
    )
    assert _count(model, shape) == encoder + decoder
    kernels = [
        _shapes(model, shape)["params"]["decoder"][f"Convolution_{i}"]["kernel"] for i in range(5)
    ]
    assert kernels == [
        (4, 4, 256, 64),
        (4, 4, 64, 64),
        (4, 4, 64, 32),
        (4, 4, 32, 32),
        (4, 4, 32, channels),
    ]


@pytest.mark.parametrize(
    ("shape", "latent_size", "size"),
    [((32, 32, 1), 16, 4), ((32, 32, 3), 128, 4), ((64, 64, 3), 64, 5)],
    ids=["mnist", "cifar10", "celeb_a"],
)
def test_conv_bn_is_the_network_of_rae(shape, latent_size, size):
    model = _model("conv_bn", shape, latent_size, **{"objective.name": "rae"})
    channels, pixels = shape[-1], (shape[0] // 16) ** 2
    scales_and_shifts = 2 * (128 + 256 + 512 + 1024)
    encoder = (
        _conv(size, channels, 128)
        + _conv(size, 128, 256)
        + _conv(size, 256, 512)
        + _conv(size, 512, 1024)
        + pixels * 1024 * latent_size
        + latent_size
    )
    decoder = (latent_size + 1) * 8 * 8 * 1024 + _conv(size, 1024, 512) + _conv(size, 512, 256)
    decoder_scales = 2 * (1024 + 512 + 256)
    if shape[0] == 64:
        decoder += _conv(size, 256, 128) + _conv(size, 128, channels)
        decoder_scales += 2 * 128
    else:
        decoder += _conv(size, 256, channels)
    # The shifts of BatchNorm stand for the biases of what it normalises by channel.
    biases = (scales_and_shifts + decoder_scales) // 2 - 1024  # but for the dense layer's
    weights = encoder + decoder - biases
    assert _count(model, shape) == weights + scales_and_shifts + decoder_scales


def test_conv_elu_is_the_network_of_gaps():
    shape, m = (32, 32, 3), 32
    changes = {"objective.name": "sampling", "likelihood.name": "discretized_logistic"}
    model = _model("conv_elu", shape, m, **changes, **{"model.activation": "elu"})
    encoder = _conv(4, 3, 64) + _conv(4, 64, 128) + _conv(4, 128, 256) + (4 * 4 * 256 + 1) * 2 * m
    scales_and_shifts = 2 * (64 + 128 + 256) + 2 * (128 + 64)
    decoder = (m + 1) * 4 * 4 * 256 + _conv(4, 256, 128) + _conv(4, 128, 64) + _conv(4, 64, 3)
    scales = (m + 1) * 64 + (64 + 1) * 32 + (32 + 1) * 3
    biases = scales_and_shifts // 2  # for which the shifts of BatchNorm stand
    assert _count(model, shape) == encoder + scales_and_shifts + decoder + scales - biases


@pytest.mark.slow
def test_conv_elu_in_training(tmp_path, tiny_config):
    """32 x 32 colour images through the whole loop, with batches shared by two devices."""
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "colour.npz", x_train=images, x_test=images[:2])
    changes = {
        "data.name": f"npz:{tmp_path}/colour.npz",
        "data.num_examples": 0,
        "model.name": "conv_elu",
        "model.activation": "elu",
        "model.channels": (2, 3),
        "model.lowering": "native",
        "objective.name": "sampling",
        "likelihood.name": "discretized_logistic",
        "train.steps": 2,
        "train.batch_size": 4,
        "evaluations.steps": (),
    }
    train(tiny_config(**changes), tmp_path / "run")
    first, last = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert np.isfinite([*first.values(), *last.values()]).all()
    assert first["param_norm"] != last["param_norm"]
    # A logistic around 0.5, about as wide as the range: some log 256 nats for each of 3,072.
    assert 0.8 < -first["log_likelihood"] / (3072 * np.log(256)) < 1.3


@pytest.mark.parametrize(
    ("name", "channels", "shape"),
    [
        ("conv", (4, 4, 8, 8, 16), (64, 64, 3)),
        ("conv_bn", (2, 4, 4, 8), (32, 32, 1)),
        ("conv_elu", (2, 4, 8), (16, 24, 3)),
    ],
)
@pytest.mark.parametrize("likelihood", ["gaussian", "heteroscedastic_gaussian"])
def test_decoded_images_have_the_shape_of_the_data(name, channels, shape, likelihood):
    changes = {"model.channels": channels, "likelihood.name": likelihood}
    changes |= {"objective.name": "sampling", "model.activation": "elu"}
    model = _model(name, shape, 3, **changes)
    decoded = jax.eval_shape(
        lambda rng: model.apply(model.init(rng, jnp.zeros(shape)), jnp.ones(3), method="decode"),
        jax.random.key(0),
    )
    parts = (decoded,) if likelihood == "gaussian" else decoded
    assert [part.shape for part in parts] == [shape] * len(parts)


def test_mean_and_variance_are_sets_of_channels():
    image = jnp.arange(2 * 2 * 6.0).reshape(2, 2, 6)
    mean, variance = sets_first(image, 2)
    np.testing.assert_array_equal(mean, image[..., :3])
    np.testing.assert_array_equal(variance, image[..., 3:])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "conv",
            (28, 28, 1),
            "requires images of 64 x 64, got 28 x 28 x 1; set data.image_size=64",
        ),
        ("conv", (64, 32, 3), "got 64 x 32 x 3"),
        ("conv", (784,), "requires images of 64 x 64, got 784"),
        ("conv_elu", (32, 32, 3), "'conv_elu' requires model.activation=elu, got 'relu'"),
        ("conv_bn", (28, 28, 1), "requires square images of 16 or 32 or 64 pixels a side, got 28"),
    ],
)
def test_what_does_not_fit_is_refused(name, shape, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        _model(name, shape, 4)


def test_sides_must_be_multiples_of_8():
    changes = {"model.activation": "elu"}
    for shape in ((28, 28, 1), (32, 20, 3), (784,)):
        found = " x ".join(map(str, shape))
        with pytest.raises(UsageError, match=f"sides are multiples of 8, got {found}; pad"):
            _model("conv_elu", shape, 4, **changes)
