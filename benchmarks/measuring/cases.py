"""What is measured: an objective on a model with a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import models
from sfvae_jax.config import base_config, resolve
from sfvae_jax.data.image_sources.mnist_5k import open_mnist_5k

OBJECTIVES = ("sampling_free", "sampling")
PRECISIONS = ("float32", "tensorfloat32")


@dataclasses.dataclass(frozen=True)
class Case:
    """An objective on a model with a batch.

    Attributes:
        objective: "sampling_free" or "sampling", with one sample.
        model: the name of the model in tables.
        settings: changes to the group `model` of a config.
        data_shape: the shape of one example.
        latent_size: m.
        batch_size: B.
        precision: of float32 products on an accelerator; one of `PRECISIONS`.
    """

    objective: str
    model: str
    settings: Mapping[str, Any]
    data_shape: tuple[int, ...]
    latent_size: int
    batch_size: int
    precision: str = "float32"

    def config(self) -> ml_collections.ConfigDict:
        """Returns the resolved config."""
        config = base_config()
        config.objective.name = self.objective
        config.train.batch_size = self.batch_size
        config.train.matmul_precision = self.precision
        config.model.update({"latent_size": self.latent_size, **self.settings})
        return resolve(config)

    def batch(self) -> Array:
        """Returns pixels in [0, 1], [B, ...]: digits if the shape is theirs, else noise."""
        if self.data_shape == _DIGIT:
            digits = open_mnist_5k()["train"]
            spread = np.linspace(0, len(digits) - 1, self.batch_size).astype(int)  # of all classes
            return jnp.asarray(np.stack([digits[i] for i in spread]), jnp.float32) / 255.0
        return jax.random.uniform(jax.random.key(0), (self.batch_size, *self.data_shape))

    def params(self) -> Any:
        """Returns parameters as the library draws them."""
        model = models.build(self.config(), self.data_shape)
        return jax.jit(model.init)(jax.random.key(1), self.batch()[0])


_DIGIT = (28, 28, 1)
_TANH = {"hidden_sizes": (200, 200), "activation": "tanh"}
_RELU = {"hidden_sizes": (512, 256)}
_RELU_MLP = ("mlp 784-512-256", _RELU, _DIGIT)
_SIGMOID_MLP = ("mlp 784-512-256, sigmoid", {**_RELU, "output_activation": "sigmoid"}, _DIGIT)
_TANH_MLP = ("tanh mlp 784-200-200", _TANH, _DIGIT)
_CONV = ("conv 64 x 64 x 3", {"name": "conv"}, (64, 64, 3))

_SIZES = {  # model, latent size, batch size
    "table4": [(_RELU_MLP, 200, 200), (_SIGMOID_MLP, 200, 200)],
    "table3": [(_TANH_MLP, 50, 20)],
    "conv": [(_CONV, 16, 64), (_CONV, 64, 64)],
}

GROUPS = {
    group: [Case(objective, *model, m, b) for model, m, b in sizes for objective in OBJECTIVES]
    for group, sizes in _SIZES.items()
}


def relu_mlp(latent_size: int, batch_size: int) -> Case:
    """Returns the sampling-free objective on the networks of SFVAE Table 4."""
    return Case("sampling_free", *_RELU_MLP, latent_size, batch_size)


def conv(latent_size: int, batch_size: int) -> Case:
    """Returns the sampling-free objective on the convolutional networks."""
    return Case("sampling_free", *_CONV, latent_size, batch_size)
