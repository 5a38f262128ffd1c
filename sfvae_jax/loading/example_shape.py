"""The shape of an example of a run, without its data set."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from sfvae_jax import data, models
from sfvae_jax.data.geometry import Geometry
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.runs.checkpoints import proof
from sfvae_jax.runs.checkpoints.folders import checkpoint_steps
from sfvae_jax.runs.files import example_file
from sfvae_jax.runs.workdir import Workdir

log = logging.getLogger("sfvae_jax")

_LARGEST_SIDE = 512  # of images whose side is looked for
_NETWORKS = "params.params."


def example_shape(
    config: ml_collections.ConfigDict, files: Workdir, given: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Returns the shape of an example of a run.

    The run's own record of it is taken if there is one. A run of an earlier version has none: the
    shape then follows from the settings, or from the data set if it can be read. Otherwise it is
    the square that the shapes of the parameters allow, if there is one.

    Args:
        config: the configuration of the run.
        files: its files.
        given: the shape that the user says; None: it is found.

    Raises:
        UsageError: if nothing tells it, or the parameters are not those of the given shape.
    """
    if given is not None:
        return _checked(config, files, given)
    recorded = example_file.read(files.folder)
    if recorded is not None:
        return recorded
    source, layout = data.source_of(config.data.name), _layout(files)
    try:
        if source.kind is not None:
            return _of_language(config)
        if source.shape is not None:
            return Geometry.of(config.data).shape(source.shape)
        found = data.open_examples(config.data, "train").shape[1:]
        if _fits(config, found, layout):
            return found
        told = f"those of {config.data.name} are {list(found)}, which its parameters do not fit"
    except (UsageError, RunError) as error:
        told = str(error)
    for shape in _candidates(config, layout) if source.kind is None else ():
        if _fits(config, shape, layout):
            log.warning(
                "the shape of an example is not recorded in %s; its parameters fit %s. If it was"
                " another, give load(..., shape=...)",
                files.name,
                list(shape),
            )
            return shape
    raise UsageError(
        f"the shape of an example is not recorded in {files.name}, and its data set does not say"
        f" ({told}); give load(..., shape=...)"
    )


def with_length(
    config: ml_collections.ConfigDict, shape: Sequence[int]
) -> ml_collections.ConfigDict:
    """Returns the config with the length of its sequences, so that no data set need tell it."""
    config = config.copy_and_resolve_references()
    if data.source_of(config.data.name).kind is not None and not config.data.max_length:
        config.data.max_length = shape[0]
    return config


def _checked(
    config: ml_collections.ConfigDict, files: Workdir, given: Sequence[int]
) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(size) for size in given)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UsageError(f"shape must be whole numbers above 0, such as (28, 28, 1), got {given!r}")
    if data.source_of(config.data.name).kind is not None:
        expected = _of_language(with_length(config, shape))
        if shape != expected:
            raise UsageError(
                f"shape must be {expected} for {config.data.name!r}, where {expected[0]} is the"
                f" number of rules; got {shape}"
            )
    if not _fits(config, shape, _layout(files)):
        raise UsageError(
            f"shape {list(shape)}: the parameters of {files.name} are not those of"
            f" {config.model.name!r} for examples of this shape"
        )
    return shape


def _of_language(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    language = data.language(config.data)
    assert language is not None
    return (language.num_places, 2) if language.has_values else (language.num_places,)


def _layout(files: Workdir) -> proof.Layout:
    """Returns types and shapes of the networks' parameters, from the newest readable checkpoint."""
    found: proof.Layout = {}
    for step in checkpoint_steps(files.checkpoints):
        try:
            proof.read(files.checkpoints / str(step), found.update, lambda name: False)
        except (proof.Damaged, FileNotFoundError):
            found.clear()
            continue
        break
    return {
        name.removeprefix(_NETWORKS): value
        for name, value in found.items()
        if name.startswith(_NETWORKS)
    }


def _candidates(
    config: ml_collections.ConfigDict, layout: proof.Layout
) -> Iterator[tuple[int, ...]]:
    """Yields square shapes that the settings and the encoder's first kernel allow."""
    group = config.data
    known = group.pad_to or group.image_size or group.crop
    kernels = [
        shape
        for name, (_, shape) in sorted(layout.items())
        if name.startswith("encoder.") and name.endswith("_0.kernel")
    ]
    convolutions = [shape for shape in kernels if len(shape) == 4]
    if convolutions:
        sides = [known] if known else range(8, _LARGEST_SIDE + 1, 4)
        yield from ((side, side, convolutions[0][2]) for side in sides)
        return
    for size in (shape[0] for shape in kernels):
        for channels in (group.channels,) if group.channels else (1, 3):
            side = math.isqrt(size // channels)
            if side * side * channels == size and known in (0, side):
                yield side, side, channels


def _fits(config: ml_collections.ConfigDict, shape: tuple[int, ...], layout: proof.Layout) -> bool:
    """Returns whether the config's model for this shape has the parameters of the checkpoint."""
    try:
        model = models.build(with_length(config, shape), shape)
    except UsageError:  # the networks take no such examples
        return False

    def init() -> Any:
        return model.init(jax.random.key(0), jnp.zeros(shape, model.data_dtype))["params"]

    return proof.layout_of(jax.eval_shape(init)) == layout
