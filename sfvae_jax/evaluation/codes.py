"""A trained model applied to every image of a set: posteriors and reconstructions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.data import to_unit_interval


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """What every evaluation works on: a model with its parameters, and images.

    Attributes:
        model: with methods `encode(x)` (a posterior) and `decode(z)`.
        params: its parameters.
        images: stored images [N, ...].
        rng: key of the evaluation's own noise; image i folds i in.
        config: the `evaluations` group of the run's configuration.
    """

    model: nn.Module
    params: Any
    images: np.ndarray
    rng: Array
    config: ml_collections.ConfigDict

    def encode(self, params: Any, x: Array) -> Any:
        """The posterior of one example."""
        return self.model.apply(params, x, method="encode")

    def decode(self, params: Any, z: Array) -> Array:
        """The decoder's output for one latent."""
        return self.model.apply(params, z, method="decode")

    @cached_property
    def posteriors(self) -> Any:
        """The posterior of every image, as a pytree of NumPy arrays [N, ...]."""
        return self.map_images(lambda params, x, key: self.encode(params, x))

    def map_images(self, function: Callable[[Any, Array, Array], Any], images: Any = None) -> Any:
        """`function(params, x, key)` of every image, as a pytree of NumPy arrays [N, ...].

        Image i gets the key `fold_in(rng, i)`, whatever the batch size.
        """
        images = self.images if images is None else images
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self.rng, np.arange(len(images)))

        @jax.jit
        def apply(params: Any, batch: Array, keys: Array) -> Any:
            return jax.vmap(function, (None, 0, 0))(params, to_unit_interval(batch), keys)

        batches = []
        for start in range(0, len(images), self.config.batch_size):
            part = slice(start, start + self.config.batch_size)
            batches.append(jax.device_get(apply(self.params, images[part], keys[part])))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
