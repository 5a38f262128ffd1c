"""A trained model applied to every image of a set: posteriors and reconstructions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.data import to_unit_interval
from sfvae_jax.objectives.batch import example_keys


class NotApplicable(Exception):
    """A measure that the model has no place for; the message says why."""


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """What every evaluation works on: a model with its parameters, and images.

    Attributes:
        model: with methods `encode(x)` (a posterior) and `decode(z)` (the likelihood's parameters).
        params: its parameters.
        images: stored images [N, ...].
        rng: key of the evaluation's own noise; image i folds i in.
        config: the `evaluations` group of the run's configuration.
        likelihood: what the decoder's output means.
        prior_stddev: of the latents, a scalar or [m]; None where no prior has been trained with.
        no_bound: why likelihood, posterior and prior make no bound of log p(x); empty if they do.
        data_scale: the model sees pixels in [0, data_scale].
        gamma: of the sampling-free objective, at the last step taken.
        images_of: stored images of "train", "valid" or "test", read once, when they are asked for.
        labels_of: their labels [N], or None where the data set has none.
        shared: what several evaluations of this model need, by key; a copy starts without.
    """

    model: nn.Module
    params: Any
    images: np.ndarray
    rng: Array
    config: ml_collections.ConfigDict
    likelihood: Any
    prior_stddev: Any = 1.0
    no_bound: str = ""
    data_scale: float = 1.0
    gamma: float = 0.5
    images_of: Callable[[str], np.ndarray] | None = None
    labels_of: Callable[[str], np.ndarray | None] | None = None
    shared: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def encode(self, params: Any, x: Array) -> Any:
        """The posterior of one example."""
        return self.model.apply(params, x, method="encode")

    def decode(self, params: Any, z: Array) -> Any:
        """The likelihood's parameters for one latent."""
        return self.model.apply(params, z, method="decode")

    def reconstruct(self, params: Any, z: Array) -> Array:
        """E[x|z] for one latent."""
        return self.likelihood.mean(self.decode(params, z))

    def prior(self) -> Any:
        """prior_stddev.

        Raises:
            NotApplicable: if there is no prior.
        """
        if self.prior_stddev is None:
            raise NotApplicable("the model was trained without a prior")
        return self.prior_stddev

    def map_images(
        self,
        function: Callable[[Any, Array, Array], Any],
        images: Any = None,
        *,
        batch_size: int | None = None,
    ) -> Any:
        """`function(params, x, key)` of every image, as a pytree of NumPy arrays [N, ...].

        Image i gets the key `fold_in(rng, i)`, whatever the batch size, which is that of the config
        where none is given.
        """
        images = self.images if images is None else images
        batch_size = batch_size or self.config.batch_size
        keys = example_keys(self.rng, len(images))

        @jax.jit
        def apply(params: Any, batch: Array, keys: Array) -> Any:
            x = self.data_scale * to_unit_interval(batch)
            return jax.vmap(function, (None, 0, 0))(params, x, keys)

        batches = []
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            batches.append(jax.device_get(apply(self.params, images[part], keys[part])))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def require(posterior: Any, method: str, purpose: str) -> Any:
    """A method that not every posterior has.

    Raises:
        NotApplicable: if this one has not.
    """
    found = getattr(posterior, method, None)
    if found is None:
        raise NotApplicable(f"a {type(posterior).__name__} posterior has no {purpose}")
    return found
