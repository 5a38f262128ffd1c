"""A trained model applied to a set of examples, as every evaluation takes it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import models
from sfvae_jax.data import as_seen
from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.grammars import Language
from sfvae_jax.likelihoods import Likelihood
from sfvae_jax.objectives.numerics.batch import example_keys
from sfvae_jax.posteriors import POSTERIORS, DiagonalGaussian

T = TypeVar("T")
P = ParamSpec("P")

# The options of the group `posterior` that say how large a flow is.
FLOW_SIZES = ("num_flows", "hidden_sizes", "reverse_sizes", "auxiliary_start")


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """What every evaluation works on: a model with its parameters, and the examples to measure.

    Attributes:
        model: a module with the methods `encode(x)`, which returns a posterior, or the code that
            its family makes one from, and `decode(z)`, which returns the likelihood's parameters.
        params: its parameters.
        images: the stored examples, [N, ...]: images, or sequences.
        rng: the key of the evaluation's noise; example i takes its own from `fold_in(rng, i)`.
        config: the `evaluations` group of the run's configuration.
        likelihood: p(x|z), which takes the decoder's output.
        prior_stddev: the prior's standard deviations, a scalar or [m]; None if there is no prior.
        no_bound: why likelihood, posterior and prior make no bound of log p(x); empty if they do.
        data_scale: the model sees pixels in [0, data_scale].
        gamma: the sampling-free objective's gamma at the last step taken.
        log_det_weight: that objective's weight of the log determinant, a number.
        posterior_family: the config's name of the family that `encode` returns.
        posterior_flows: the size of a flow, by the names in `FLOW_SIZES`.
        images_of: returns the stored examples of "train", "valid" or "test", each of which is read
            once, when it is asked for.
        labels_of: returns the labels of a split, [N], or None if the data set has none.
        language: what sequences are made of and mean; None if the examples are images.
        step: the number of training steps taken.
        records: reads those of metrics.jsonl, by the names of their values, each with the step
            `from_step` from which its process began; None if there are none.
        programs: what is kept for all checkpoints of one run: compiled functions (`program`) and
            results that no checkpoint changes (`once_per_run`).
        shared: what is kept for this checkpoint (`once_per_checkpoint`); a copy starts empty.
    """

    model: models.Model
    params: Any
    images: np.ndarray
    rng: Array
    config: ml_collections.ConfigDict
    likelihood: Likelihood
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
    step: int = 0
    records: Callable[[], Sequence[Mapping[str, Any]]] | None = None
    programs: dict = dataclasses.field(default_factory=dict, repr=False, compare=False)
    shared: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def encode(self, params: Any, x: Array) -> Any:
        """Returns the posterior of one example."""
        code = self.model.apply(params, x, method="encode")
        family = POSTERIORS[self.posterior_family]
        return family.posterior(code, lambda z: self.decode_given(params, z, x), x, self.likelihood)

    def decode(self, params: Any, z: Array) -> Any:
        """Returns the likelihood's parameters for one latent [m]."""
        return self.model.apply(params, z, method="decode")

    def decode_given(self, params: Any, z: Array, x: Array) -> Any:
        """Returns the likelihood's parameters that score the example x, for one latent [m].

        They are those of `decode`, unless the decoder is fed x (teacher forcing).
        """
        forced_decode = models.forced_decoder_function(self.model, params)
        return self.decode(params, z) if forced_decode is None else forced_decode(z, x)

    def sample(self, params: Any, z: Array, key: Array) -> tuple[Array, Any]:
        """Draws x from p(x|z) for one latent; returns it with the likelihood's parameters.

        A decoder that is fed its own output draws place by place.
        """
        if hasattr(self.model, "sample"):
            return self.model.apply(params, key, z, self.likelihood, method="sample")
        parameters = self.decode(params, z)
        return self.likelihood.sample(key, parameters), parameters

    def reconstruct(self, params: Any, z: Array) -> Array:
        """Returns E[x|z] for one latent [m]."""
        return self.likelihood.mean(self.decode(params, z))

    def prior(self) -> Any:
        """Returns the prior's standard deviations.

        Raises:
            NotApplicable: if the model has no prior.
        """
        if self.prior_stddev is None:
            raise NotApplicable("the model was trained without a prior")
        return self.prior_stddev

    def pixels(self, images: Array) -> Array:
        """Returns stored examples [N, ...] as the model sees them."""
        return as_seen(images, self.data_scale)

    def map_images(
        self,
        function: Callable[..., Any],
        images: Any = None,
        *extra: Any,
        batch_size: int | None = None,
        key: Hashable = None,
        rng: Array | None = None,
    ) -> Any:
        """Returns `function(params, x, key, *extra_i)` of every example i.

        Args:
            function: takes one example as the model sees it, and its key `fold_in(rng, i)`, which
                no batch size changes.
            images: stored examples [N, ...]; None: those of this model.
            *extra: pytrees of arrays [N, ...], of which each example gets its own entries.
            batch_size: examples at once; None: `evaluations.batch_size`.
            key: names the function, and everything it closes over besides this model. With a key it
                is compiled once for all checkpoints of a run (see `program`).
            rng: the key from which those of the examples are made; None: that of this model.

        Returns:
            A pytree of NumPy arrays [N, ...].

        Raises:
            ValueError: if `extra` does not have one entry for each example.
        """
        images = self.images if images is None else images
        batch_size = batch_size or self.config.batch_size
        keys = _example_keys(self.rng if rng is None else rng, len(images))
        counts = {len(leaf) for leaf in jax.tree.leaves(extra)}
        if not counts <= {len(images)}:
            raise ValueError(
                f"expected {len(images)} entries, one for each example; got {sorted(counts)}"
            )

        def apply(params: Any, batch: Array, keys: Array, extra: Any) -> Any:
            return jax.vmap(lambda x, key, more: function(params, x, key, *more))(
                self.pixels(batch), keys, extra
            )

        def compiled() -> Callable[..., Any]:
            return jax.jit(apply)

        of_batch = compiled() if key is None else program(self, ("map_images", key), compiled)
        batches = []
        for start in range(0, len(images), batch_size):
            at = slice(start, start + batch_size)
            more = jax.tree.map(lambda leaf: leaf[at], extra)
            batches.append(jax.device_get(of_batch(self.params, images[at], keys[at], more)))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


# One program for the keys of a batch, where the parts of `example_keys` would be one each.
_example_keys = jax.jit(example_keys, static_argnums=1)


def require(posterior: Any, method: str, purpose: str) -> Any:
    """Returns a method that not every posterior has.

    Args:
        posterior: any posterior.
        method: the method's name.
        purpose: what the method gives, for the message.

    Raises:
        NotApplicable: if this posterior does not have it.
    """
    found = getattr(posterior, method, None)
    if found is None:
        raise NotApplicable(f"a {type(posterior).__name__} posterior has no {purpose}")
    return found


def require_bound(trained: TrainedModel) -> None:
    """Checks that likelihood, posterior and prior make a bound of log p(x).

    Raises:
        NotApplicable: saying why they do not.
    """
    if trained.no_bound:
        raise NotApplicable(trained.no_bound)


def latent_prior(trained: TrainedModel) -> Array:
    """Returns the prior's standard deviations, [m], of a model that has a bound of log p(x).

    Raises:
        NotApplicable: if the model has no bound, or no prior.
    """
    require_bound(trained)
    prior_stddev = jnp.asarray(trained.prior(), float)
    return jnp.broadcast_to(prior_stddev, (latent_size(trained),))


def require_diagonal(posterior: Any) -> None:
    """Checks that a posterior is a diagonal Gaussian.

    Raises:
        NotApplicable: naming what it is instead.
    """
    if not isinstance(posterior, DiagonalGaussian):
        raise NotApplicable(f"a {type(posterior).__name__} posterior is not a diagonal Gaussian")


def require_gaussian(posterior: Any) -> None:
    """Checks that a posterior is a Gaussian, with independent or correlated dimensions.

    Raises:
        NotApplicable: naming what it is instead.
    """
    if not hasattr(posterior, "deviation"):
        raise NotApplicable(f"a {type(posterior).__name__} posterior is not a Gaussian")


def once_per_checkpoint(
    function: Callable[Concatenate[TrainedModel, P], T],
) -> Callable[Concatenate[TrainedModel, P], T]:
    """Decorates a function so that each `TrainedModel` computes it once for the same arguments.

    Args:
        function: takes the model, and arguments that are hashable or groups of options.
    """
    return _once(function, lambda trained: trained.shared)


def once_per_run(
    function: Callable[Concatenate[TrainedModel, P], T],
) -> Callable[Concatenate[TrainedModel, P], T]:
    """Decorates a function so that all checkpoints of a run compute it once for the same arguments.

    Args:
        function: takes the model, and arguments that are hashable or groups of options. It must
            depend on nothing but these arguments, as features of real images do on the images.
    """
    return _once(function, lambda trained: trained.programs)


def _once(function: Callable[..., T], cache_of: Callable[[TrainedModel], dict]) -> Callable[..., T]:
    @functools.wraps(function)
    def computed_once(trained: TrainedModel, *arguments: Any) -> T:
        cache, key = cache_of(trained), (function, *map(_hashable, arguments))
        if key not in cache:
            cache[key] = function(trained, *arguments)
        return cache[key]

    return computed_once


def _hashable(argument: Any) -> Hashable:
    is_group = isinstance(argument, ml_collections.ConfigDict)
    return ml_collections.FrozenConfigDict(argument) if is_group else argument


def program(trained: TrainedModel, key: Hashable, make: Callable[[], T]) -> T:
    """Returns compiled functions of this model, which take its parameters as an argument.

    They are made when a checkpoint of a run first asks for them under this key, and made again if
    something that may be compiled into them has changed: the model, its likelihood, key or scale,
    or a floating prior. The earlier ones are then dropped, so that their number does not grow. Take
    random keys as arguments: one that a function closes over is compiled anew for each seed.

    Args:
        trained: the model.
        key: names the functions, and everything they close over besides the model.
        make: makes them.
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
        # The model is kept too, so that no other model is given its id.
        trained.programs[key] = found = (compiled_in, trained.model, make())
    return found[2]


def split_examples(trained: TrainedModel, split: str) -> np.ndarray:
    """Returns the stored examples of "train", "valid" or "test".

    Raises:
        NotApplicable: if the model came without its data set.
    """
    if trained.images_of is None:
        raise NotApplicable("only the evaluated examples are available")
    return trained.images_of(split)


def centers(trained: TrainedModel, images: np.ndarray) -> np.ndarray:
    """Returns the center of every example's posterior, [N, m]."""

    def center(params: Any, x: Array, key: Array) -> Array:
        del key
        return trained.encode(params, x).center()

    return finite(trained.map_images(center, images, key="center"))


@once_per_checkpoint
def latent_size(trained: TrainedModel) -> int:
    """Returns the number of latents m, without encoding anything."""

    def centers_of(params: Any, images: Array) -> Array:
        return jax.vmap(lambda x: trained.encode(params, x).center())(trained.pixels(images))

    return jax.eval_shape(centers_of, trained.params, trained.images[:1]).shape[1]


def decode_means(trained: TrainedModel, codes: np.ndarray) -> np.ndarray:
    """Returns E[x|z] of latents [..., m], [..., *example].

    `evaluations.batch_size` of them are decoded at once.
    """
    decode = program(trained, "decoder", lambda: jax.jit(jax.vmap(trained.reconstruct, (None, 0))))
    flat = np.asarray(codes, np.float32).reshape(-1, codes.shape[-1])
    size = trained.config.batch_size
    batches = (decode(trained.params, flat[i : i + size]) for i in range(0, len(flat), size))
    images = np.concatenate([np.asarray(batch) for batch in batches])
    return images.reshape(*codes.shape[:-1], *images.shape[1:])


def finite(codes: np.ndarray) -> np.ndarray:
    """Returns the codes if all of them are finite.

    Raises:
        RunError: if one is not.
    """
    if not np.isfinite(codes).all():
        raise RunError("the codes are not finite at this checkpoint; the model diverged")
    return codes
