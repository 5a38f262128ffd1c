"""Lower bounds of the memory that a run needs, checked before anything is allocated."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import ml_collections

from sfvae_jax import objectives
from sfvae_jax.errors import UsageError
from sfvae_jax.models import Model, count_parameters
from sfvae_jax.posteriors import POSTERIORS
from sfvae_jax.runtime.devices import UNKNOWN_MEMORY, device_memory
from sfvae_jax.runtime.memory import host_memory
from sfvae_jax.training.state import make_optimizer

_WIDE = 10_000  # narrower layers fit any machine, so that their parameters are not counted
_COPIES = 3  # the parameters, the gradient and the update; the optimizer's state comes on top
_FLOAT = 4  # bytes
_INDEX = 12  # bytes for each example of a batch: in the order of its epoch and on the device
_WIDTHS = (
    "model.latent_size",
    "model.hidden_sizes",
    "model.decoder_sizes",
    "model.channels",
    "model.kernel_size",
    "model.kernel_sizes",
    "posterior.hidden_sizes",
    "posterior.context_size",
    "posterior.reverse_sizes",
)


class _Need(NamedTuple):
    """A lower bound of the memory that a part of a run needs, and the key that decides it."""

    num_bytes: int
    available: int
    what: str
    key: str


def check_sizes(
    config: ml_collections.ConfigDict,
    model: Model,
    shape: tuple[int, ...],
    itemsize: int,
    batch_size: int,
    *,
    streamed: bool,
) -> None:
    """Checks that parameters, batches, samples and Jacobians can fit into memory.

    Only what is certainly needed at once is counted: a run that is refused could not have
    succeeded, while one that is accepted may still be too large.

    Args:
        config: resolved.
        model: the one that it describes.
        shape: shape of an example.
        itemsize: bytes of each of its numbers as stored.
        batch_size: number of examples on all devices together.
        streamed: whether each call sends examples to the devices, not indices.

    Raises:
        UsageError: saying how many bytes are needed, and which key reduces them.
    """
    numbers = math.prod(shape)
    needs = [
        _parameters(config, model, shape),
        _batches(config.train, batch_size, numbers * itemsize if streamed else 0),
        _samples(config.objective, config.train, batch_size, numbers),
        _jacobian(config, numbers),
    ]
    for need in needs:
        if need is not None and need.num_bytes > need.available:
            value = _value(config, need.key)
            raise UsageError(
                f"{need.what} {need.num_bytes / 2**30:,.0f} GiB, more than the"
                f" {need.available / 2**30:,.0f} GiB of this machine; lower {need.key} {value}"
            )


def _parameters(
    config: ml_collections.ConfigDict, model: Model, shape: tuple[int, ...]
) -> _Need | None:
    widths = {key: _widest(_value(config, key)) for key in _WIDTHS}
    key = max(widths, key=lambda key: widths[key])
    if widths[key] < _WIDE:
        return None
    example = jax.ShapeDtypeStruct(shape, model.data_dtype)
    tree = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), example)
    params = {"params": tree["params"]}
    moments = count_parameters(jax.eval_shape(make_optimizer(config.train).init, params))
    number, train = count_parameters(tree), config.train
    copies = _COPIES + bool(train.ema_decay)
    average = ", their average" if train.ema_decay else ""
    what = f"{number:,} parameters with their gradient{average} and the state of {train.optimizer}"
    num_bytes = _FLOAT * (copies * number + moments)
    return _Need(num_bytes, device_memory(), f"{what} take", key)


def _batches(train: ml_collections.ConfigDict, batch_size: int, bytes_each: int) -> _Need:
    longest = min(train.steps, train.steps_per_call, train.checkpoint_every)
    longest = min(longest, train.validate_every or longest)
    what = f"the batches of a call of {longest:,} steps take"
    num_bytes = longest * batch_size * (_INDEX + bytes_each)
    return _Need(num_bytes, host_memory() or UNKNOWN_MEMORY, what, "train.steps_per_call")


def _samples(
    objective: ml_collections.ConfigDict,
    train: ml_collections.ConfigDict,
    batch_size: int,
    numbers: int,
) -> _Need | None:
    if "num_samples" not in objectives.OBJECTIVES[objective.name].options:
        return None
    number = objective.num_samples
    share = train.microbatch or max(batch_size // jax.device_count(), 1)
    what = f"{number:,} decoded samples of each of {share:,} examples take"
    num_bytes = share * number * numbers * _FLOAT
    return _Need(num_bytes, device_memory(), what, "objective.num_samples")


def _jacobian(config: ml_collections.ConfigDict, numbers: int) -> _Need | None:
    if not forms_jacobian(config):
        return None
    what = "the decoder's Jacobian of one example takes"
    num_bytes = config.model.latent_size * numbers * _FLOAT
    return _Need(num_bytes, device_memory(), what, "model.latent_size")


def forms_jacobian(config: ml_collections.ConfigDict) -> bool:
    """Whether training takes all m tangents of the decoder, for the objective or the posterior."""
    of_posterior = POSTERIORS[config.posterior.name].of_decoder is not None
    info = objectives.OBJECTIVES[config.objective.name]
    return of_posterior or info.forms_jacobian(config.objective)


def _widest(value: int | tuple[int, ...] | None) -> int:
    return max(value, default=0) if isinstance(value, tuple) else value or 0


def _value(config: ml_collections.ConfigDict, key: str) -> int | tuple[int, ...] | None:
    group, _, name = key.partition(".")
    return config[group][name]
