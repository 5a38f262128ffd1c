"""A trained model applied to every image of a set: posteriors and reconstructions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.data import as_seen
from sfvae_jax.errors import RunError
from sfvae_jax.grammars import Language
from sfvae_jax.objectives.numerics.batch import example_keys
from sfvae_jax.posteriors import DiagonalGaussian

T = TypeVar("T")

FLOW_SIZES = ("num_flows", "hidden_sizes", "reverse_sizes", "auxiliary_start")
"""The options of the group `posterior` that say what a flow consists of."""


class NotApplicable(Exception):
    """A measure that the model has no place for; the message says why."""


class Doubtful(float):
    """A measure that is not to be read without its caveat.

    Attributes:
        caveat: why not, and what to do.
    """

    def __new__(cls, value: float, caveat: str) -> Doubtful:
        """The number with its caveat."""
        number = super().__new__(cls, value)
        number.caveat = caveat
        return number


class OfText(float):
    """A measure of one text.

    Attributes:
        text: that has been measured.
    """

    def __new__(cls, value: float, text: str) -> OfText:
        """The number with its text."""
        number = super().__new__(cls, value)
        number.text = text
        return number


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
        log_det_weight: of the same, a number.
        posterior_family: the config's name of what `encode` gives.
        posterior_flows: of a flow, `num_flows`, `hidden_sizes`, and what else `FLOW_SIZES` names.
        images_of: stored images of "train", "valid" or "test", read once, when they are asked for.
        labels_of: their labels [N], or None where the data set has none.
        language: of sequences, what they are made of and say; None: the examples are images.
        programs: what has been compiled, by key, for all checkpoints of one run: see `program`;
            and what depends on none of them: see `once_for_all_checkpoints`.
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
    log_det_weight: float = 1.0
    posterior_family: str = "diagonal"
    posterior_flows: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    images_of: Callable[[str], np.ndarray] | None = None
    labels_of: Callable[[str], np.ndarray | None] | None = None
    language: Language | None = None
    programs: dict = dataclasses.field(default_factory=dict, repr=False, compare=False)
    shared: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def encode(self, params: Any, x: Array) -> Any:
        """The posterior of one example."""
        return self.model.apply(params, x, method="encode")

    def decode(self, params: Any, z: Array) -> Any:
        """The likelihood's parameters for one latent."""
        return self.model.apply(params, z, method="decode")

    def decode_given(self, params: Any, z: Array, x: Array) -> Any:
        """The same, from which p(x|z) of one example x is taken: see `Vae.decode_given`.

        Of a model that has no such method it is `decode`.
        """
        if not hasattr(self.model, "decode_given"):
            return self.decode(params, z)
        return self.model.apply(params, z, x, method="decode_given")

    def sample(self, params: Any, z: Array, key: Array) -> tuple[Array, Any]:
        """A draw of x from p(x|z) for one latent, and the likelihood's parameters that it is of.

        Of a decoder that is fed its own output the model draws, place by place.
        """
        if hasattr(self.model, "sample"):
            return self.model.apply(params, key, z, self.likelihood, method="sample")
        parameters = self.decode(params, z)
        return self.likelihood.sample(key, parameters), parameters

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

    def pixels(self, images: Array) -> Array:
        """Stored images or sequences [N, ...] as the model sees them."""
        return as_seen(images, self.data_scale)

    def map_images(
        self,
        function: Callable[..., Any],
        images: Any = None,
        *extra: Any,
        batch_size: int | None = None,
        key: Hashable = None,
    ) -> Any:
        """`function(params, x, key, *extra_i)` of every image: a pytree of NumPy arrays [N, ...].

        Image i gets the key `fold_in(rng, i)`, whatever the batch size, which is that of the config
        where none is given, and entry i of every further pytree of arrays [N, ...].

        With a key the function is compiled once for all checkpoints of a run (see `program`); it
        says which function it is, and all that it closes over besides this model.

        Raises:
            ValueError: if a further pytree has not one entry for each image.
        """
        images = self.images if images is None else images
        batch_size = batch_size or self.config.batch_size
        keys = example_keys(self.rng, len(images))
        counts = {len(leaf) for leaf in jax.tree.leaves(extra)}
        if not counts <= {len(images)}:
            raise ValueError(f"{len(images)} images need as many entries, got {sorted(counts)}")

        def apply(params: Any, batch: Array, keys: Array, extra: Any) -> Any:
            return jax.vmap(lambda x, key, more: function(params, x, key, *more))(
                self.pixels(batch), keys, extra
            )

        if key is None:
            apply = once(self, ("map_images", function), lambda apply=apply: jax.jit(apply))
        else:
            apply = program(self, ("map_images", key), lambda apply=apply: jax.jit(apply))
        batches = []
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            more = jax.tree.map(lambda leaf: leaf[part], extra)
            batches.append(jax.device_get(apply(self.params, images[part], keys[part], more)))
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


def require_bound(trained: TrainedModel) -> None:
    """Refuses a model whose likelihood, posterior and prior make no bound of log p(x).

    Raises:
        NotApplicable: saying why.
    """
    if trained.no_bound:
        raise NotApplicable(trained.no_bound)


def latent_prior(trained: TrainedModel) -> Array:
    """The prior's standard deviations, [m], of a model that has a bound of log p(x).

    Raises:
        NotApplicable: if it has no bound, or no prior.
    """
    require_bound(trained)
    prior_stddev = jnp.asarray(trained.prior(), float)
    return jnp.broadcast_to(prior_stddev, (latent_size(trained),))


def require_diagonal(posterior: Any) -> None:
    """Refuses a posterior that is no diagonal Gaussian.

    Raises:
        NotApplicable: naming what it is.
    """
    if not isinstance(posterior, DiagonalGaussian):
        raise NotApplicable(f"a {type(posterior).__name__} posterior is no diagonal Gaussian")


def once(trained: TrainedModel, key: Hashable, make: Callable[[], T]) -> T:
    """`make()`, the first time that this model is asked for it under this key."""
    if key not in trained.shared:
        trained.shared[key] = make()
    return trained.shared[key]


def once_for_all_checkpoints(trained: TrainedModel, key: Hashable, make: Callable[[], T]) -> T:
    """`make()`, the first time that a checkpoint of a run asks for it under this key.

    It must depend on nothing but the key, as features of real images do on these images.
    """
    kept = ("same at every checkpoint", key)
    if kept not in trained.programs:
        trained.programs[kept] = make()
    return trained.programs[kept]


def program(trained: TrainedModel, key: Hashable, make: Callable[[], T]) -> T:
    """`make()`, compiled functions of this model that take its parameters as an argument.

    Made the first time that a checkpoint of a run asks for it under this key, and again where what
    is compiled into it has changed: the model, its likelihood, key or scale, or a prior that
    floats. The one before is then given up, so that they do not grow in number.
    """
    arrays, likelihood = jax.tree.flatten(trained.likelihood)
    compiled_in = (
        id(trained.model),
        likelihood,
        *(np.asarray(array).tobytes() for array in arrays),
        trained.data_scale,
        np.asarray(jax.random.key_data(trained.rng)).tobytes(),
        None if trained.prior_stddev is None else np.asarray(trained.prior_stddev).tobytes(),
    )
    found = trained.programs.get(key)
    if found is None or found[0] != compiled_in:
        # The model too, so that its id is not given to another.
        trained.programs[key] = found = (compiled_in, trained.model, make())
    return found[2]


def part_images(trained: TrainedModel, part: str) -> np.ndarray:
    """Stored images of "train", "valid" or "test".

    Raises:
        NotApplicable: if the model came without its data set.
    """
    if trained.images_of is None:
        raise NotApplicable("the model was given no other images than those evaluated")
    return trained.images_of(part)


def centers(trained: TrainedModel, images: np.ndarray) -> np.ndarray:
    """The code that stands for each image's posterior, [N, m]."""

    def center(params: Any, x: Array, key: Array) -> Array:
        del key
        return trained.encode(params, x).center()

    return finite(trained.map_images(center, images, key="center"))


def latent_size(trained: TrainedModel) -> int:
    """m."""
    return once(trained, "latent size", lambda: centers(trained, trained.images[:1]).shape[1])


def decode_means(trained: TrainedModel, codes: np.ndarray) -> np.ndarray:
    """E[x|z] of latents [..., m], in batches of `evaluations.batch_size`: [..., *example]."""
    # One compiled decoder for all that is decoded of this model.
    decode = program(trained, "decoder", lambda: jax.jit(jax.vmap(trained.reconstruct, (None, 0))))
    flat = np.asarray(codes, np.float32).reshape(-1, codes.shape[-1])
    size = trained.config.batch_size
    batches = (decode(trained.params, flat[i : i + size]) for i in range(0, len(flat), size))
    images = np.concatenate([np.asarray(batch) for batch in batches])
    return images.reshape(*codes.shape[:-1], *images.shape[1:])


def finite(codes: np.ndarray) -> np.ndarray:
    """The codes.

    Raises:
        RunError: if they are not finite.
    """
    if not np.isfinite(codes).all():
        raise RunError("the codes are not finite at this checkpoint; the model diverged")
    return codes
