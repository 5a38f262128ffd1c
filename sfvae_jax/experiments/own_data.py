"""What suits a data set of images or arrays: network, likelihood, held-out examples, batches."""

from __future__ import annotations

import math
from typing import NamedTuple

import ml_collections
import numpy as np

from sfvae_jax import data, left_open
from sfvae_jax.data.geometry import Geometry
from sfvae_jax.errors import UsageError
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.objectives import OBJECTIVES

# Channels of the model conv by the side of the images; (): the paper's.
CHANNELS = {32: (32, 64, 64, 256), 64: (), 128: (32, 32, 64, 64, 128, 256)}

_FEW = 1024  # up to this number of values in an example, fully connected layers are enough
_LARGEST = 64  # side of images in pixels; larger ones are resized to it
_LOOKED_AT = 500  # examples
_UNEXPLAINED = 0.1  # share of the data's variance that the likelihood takes for noise
_NEAR = 1e-3  # the smallest likelihood.variance
_ROUND = [float(f"{digit}e{power}") for power in range(-6, 7) for digit in (1, 2, 5)]

# The keys that `choose` settles.
KEYS = (
    "data.channels",
    "data.image_size",
    "data.pad_to",
    "data.num_valid",
    "data.num_test",
    "model.name",
    "model.channels",
    "model.hidden_sizes",
    "model.latent_size",
    "model.output_activation",
    "likelihood.name",
    "likelihood.variance",
    "train.batch_size",
    "train.learning_rate",
    "train.validate_every",
)

VALIDATE_EVERY = 500  # steps; a fifth of all where there are fewer


class Examples(NamedTuple):
    """What some training examples, as a model gets them, tell about all.

    Attributes:
        is_binary: whether every value is 0 or 1.
        has_levels: whether values are bytes, with 256 levels.
        variance: the mean over the values of an example of their variances over the examples.
    """

    is_binary: bool
    has_levels: bool
    variance: float


def choose(config: ml_collections.ConfigDict, settle: left_open.Settle) -> None:
    """Chooses the keys of KEYS that are open.

    Args:
        config: the configuration; each choice depends on what is known or chosen before it.
        settle: as `sfvae_jax.left_open` calls it.

    Raises:
        UsageError: if the data cannot be read, are sequences, or their images cannot be brought to
            one shape.
    """
    source = data.source_of(config.data.name)
    if source.kind is not None:
        raise UsageError(
            f"data.name {config.data.name!r}: configs/vae.py is for images and arrays; sequences"
            f" have config files of their own, such as --config=configs/{source.kind.name}.py"
        )
    splits = data.open_source(config.data)
    _choose_geometry(config, splits["train"].example_shapes, settle)
    _choose_held_out(config, len(splits["train"]), set(splits), settle)
    training = data.Splits(config.data).open_examples("train")
    shape = training.shape[1:]
    _choose_model(config, shape, settle)
    _choose_likelihood(config, _look(training, config.data.binarization != "none"), shape, settle)
    settle("train.batch_size", 64 if len(training) >= 128 else 0)
    settle("train.learning_rate", 1e-3 if config.model.name == "mlp" else 5e-4)
    steps = config.train.steps
    settle(
        "train.validate_every", VALIDATE_EVERY if steps >= VALIDATE_EVERY else max(1, steps // 5)
    )


def _choose_geometry(
    config: ml_collections.ConfigDict,
    shapes: frozenset[tuple[int, ...]],
    settle: left_open.Settle,
) -> None:
    """Brings images to one shape, and those with many values to a size that conv accepts."""
    if any(len(shape) != 3 for shape in shapes):
        return
    if len({shape[2] for shape in shapes}) > 1:
        settle("data.channels", 3)
    group = config.data
    found = {Geometry(group.crop, group.channels).shape(shape) for shape in shapes}
    sides = {side for shape in found for side in shape[:2]}
    many = max(math.prod(shape) for shape in found) > _FEW
    if len({shape[:2] for shape in found}) > 1 or (
        many and (max(sides) > _LARGEST or len(sides) > 1)
    ):
        settle("data.image_size", _LARGEST)
    shape = Geometry(group.crop, group.channels, group.image_size).shape(next(iter(found)))
    side = max(shape[:2])
    if math.prod(shape) > _FEW and side < _LARGEST and side not in CHANNELS:
        settle("data.pad_to", next(known for known in CHANNELS if known > side))


def _choose_held_out(
    config: ml_collections.ConfigDict, number: int, splits: set[str], settle: left_open.Settle
) -> None:
    """Holds about a tenth of the examples out for each of valid and test that the source lacks."""
    number = min(config.data.num_examples or number, number)
    for split in ("valid", "test"):
        if split not in splits:
            settle(f"data.num_{split}", _rounded_down(number / 10))


def _choose_model(
    config: ml_collections.ConfigDict, shape: tuple[int, ...], settle: left_open.Settle
) -> None:
    """Takes convolutions for square images with many values, else fully connected layers."""
    size = math.prod(shape)
    is_square = len(shape) == 3 and shape[0] == shape[1] and shape[0] in CHANNELS
    settle("model.name", "conv" if is_square and size > _FEW else "mlp")
    if config.model.name == "conv" and is_square:
        settle("model.channels", CHANNELS[shape[0]])
    widths = (512, 256) if size > 256 else (128, 64)
    settle("model.hidden_sizes", widths if config.model.name == "mlp" else ())
    fitting = [latents for latents in (2, 4, 8, 16, 32) if latents <= size / 16]
    settle("model.latent_size", fitting[-1] if fitting else min(size, 2))


def _choose_likelihood(
    config: ml_collections.ConfigDict,
    found: Examples,
    shape: tuple[int, ...],
    settle: left_open.Settle,
) -> None:
    """Takes the likelihood that says most about such values, of those the objective accepts.

    If the objective takes the decoder's tangents, it is the Gaussian, for which they are exact.
    """
    info = OBJECTIVES[config.objective.name]
    accepted = ("gaussian",) if info.has_tangents else info.likelihoods_in(LIKELIHOODS)
    unit = config.data.scale == 1.0
    wanted = {
        "bernoulli": found.is_binary and unit,
        "discretized_logistic": found.has_levels and len(shape) == 3 and unit,
        "gaussian": True,
    }
    settle("likelihood.name", next(name for name in wanted if wanted[name] and name in accepted))
    variance = _UNEXPLAINED * found.variance * config.data.scale**2
    settle("likelihood.variance", max(_rounded(variance), _NEAR))
    activates = LIKELIHOODS[config.likelihood.name].activates_mean and unit
    settle("model.output_activation", "sigmoid" if activates else "identity")


def _look(training: data.StoredExamples, becomes_binary: bool) -> Examples:
    """Looks at some examples, spread evenly over all."""
    positions = np.unique(np.linspace(0, len(training) - 1, _LOOKED_AT).astype(int))
    stored = training[positions]
    has_levels = stored.dtype == np.uint8
    values = stored / np.float32(255 if has_levels else 1)
    is_binary = becomes_binary or bool(np.isin(values, (0.0, 1.0)).all())
    return Examples(is_binary, has_levels, float(values.var(axis=0, dtype=np.float64).mean()))


def _rounded_down(number: float) -> int:
    """Returns the largest of 1, 2, 5, 10, ..., 1,000 up to a number; 1 for smaller numbers.

    So a data set that grows a little keeps its numbers, and its runs can go on.
    """
    return max([int(step) for step in _ROUND if 1 <= step <= min(number, 1000)], default=1)


def _rounded(number: float) -> float:
    """Returns the round number that is nearest by ratio."""
    return min(_ROUND, key=lambda step: abs(math.log(step / max(number, _ROUND[0]))))
