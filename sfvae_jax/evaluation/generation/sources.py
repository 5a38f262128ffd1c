"""The images by which a model's quality is judged, as in RAE Appendix D.

They are reconstructions, interpolations, and means of p(x|z) for z from any of the densities. A
source that several evaluations of one model need is computed once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array

from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.generation.densities.codes import aggregated_codes, training_codes
from sfvae_jax.evaluation.generation.densities.spec import Density, DensitySpec
from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.interpolation import slerp
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.noise import generator
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    centers,
    decode_means,
    once_per_checkpoint,
    split_examples,
)


@dataclasses.dataclass(frozen=True)
class Source:
    """One source of generated images.

    Attributes:
        images: maps (trained, rng, number) to stored images [number, ...], or fewer if there are
            not as many. It raises `NotApplicable` if the model has no such images.
        summary: what they are, in a phrase; the documentation lists it.
        stream: number of its stream of noise, which no other source has. It never changes, so that
            seeded runs repeat.
        splits: the splits of the data that it reads.
        one_each_of: a split for each of whose images it has one image; empty if it has any number.
    """

    images: Callable[[TrainedModel, np.random.Generator, int], np.ndarray]
    summary: str
    stream: int
    splits: tuple[str, ...]
    one_each_of: str = ""


def generate(trained: TrainedModel, source: str, number: int) -> np.ndarray:
    """Returns images of one source as they are stored: uint8, [number, ...].

    There are at most as many reconstructions as validation images.

    Raises:
        NotApplicable: if the model has no such images.
    """
    return SOURCES[source].images(trained, _generator(trained, source), number)


def random_codes(trained: TrainedModel, name: str, number: int) -> np.ndarray:
    """Draws latents from one of `DENSITIES`, [number, m].

    Raises:
        NotApplicable: if the model has no such density.
    """
    return density(trained, name).sample(_generator(trained, name), number)


@once_per_checkpoint
def density(trained: TrainedModel, name: str) -> Density:
    """Returns one of `DENSITIES`, fitted once for a model.

    Raises:
        NotApplicable: if the model has no such density.
    """
    seed = int(_generator(trained, name).integers(2**31))
    return DENSITIES[name].fit(trained, seed)


def mean_log_densities(trained: TrainedModel, name: str) -> tuple[float, float]:
    """Returns the mean log density of held-out and of training codes, in nats per code.

    RAE Appendix C compares the two to see whether a mixture overfits. The held-out codes are those
    of the validation images.

    Raises:
        NotApplicable: if the model has no such density.
    """
    fitted: Any = density(trained, name)  # one that has `log_density`
    held_out = aggregated_codes(trained, split_examples(trained, "valid"))
    training = training_codes(trained)
    return (
        float(np.mean(fitted.log_density(held_out))),
        float(np.mean(fitted.log_density(training))),
    )


def to_stored(images: np.ndarray, scale: float) -> np.ndarray:
    """Clips pixels to [0, scale] and rounds them to whole numbers in 0..255, as files have them.

    Raises:
        RunError: if they are not finite.
    """
    if not np.isfinite(images).all():
        raise RunError("the decoded images are not finite at this checkpoint; the model diverged")
    return np.round(255.0 * np.clip(images / scale, 0.0, 1.0)).astype(np.uint8)


def decode_images(trained: TrainedModel, codes: np.ndarray) -> np.ndarray:
    """Returns E[x|z] of latents [n, m] as stored images [n, ...]."""
    return to_stored(decode_means(trained, codes), trained.data_scale)


def midpoints(rng: np.random.Generator, codes: np.ndarray, number: int) -> np.ndarray:
    """Returns codes halfway between random pairs of different codes of [N, m]: [number, m].

    Raises:
        NotApplicable: if there are fewer than two codes.
    """
    if len(codes) < 2:
        raise NotApplicable("interpolations need at least two validation images")
    first = rng.integers(len(codes), size=number)
    second = (first + rng.integers(1, len(codes), size=number)) % len(codes)
    return slerp(codes[first], codes[second], 0.5)


def _reconstructions(trained: TrainedModel, rng: np.random.Generator, number: int) -> np.ndarray:
    del rng
    images = split_examples(trained, "valid")[:number]

    def rebuild(params: Any, x: Array, key: Array) -> Array:
        del key
        return trained.reconstruct(params, trained.encode(params, x).center())

    return to_stored(trained.map_images(rebuild, images, key="rebuilt"), trained.data_scale)


def _interpolations(trained: TrainedModel, rng: np.random.Generator, number: int) -> np.ndarray:
    codes = midpoints(rng, centers(trained, split_examples(trained, "valid")), number)
    return decode_images(trained, codes)


def _sampled_from(name: str, spec: DensitySpec) -> Source:
    """Returns the source of means of p(x|z) for z from a density."""

    def images(trained: TrainedModel, rng: np.random.Generator, number: int) -> np.ndarray:
        return decode_images(trained, density(trained, name).sample(rng, number))

    held_out = ("valid",) if spec.reports_log_density else ()
    summary = f"decoded from samples of {spec.summary}"
    return Source(images, summary, spec.stream, (*spec.splits, *held_out))


SOURCES: dict[str, Source] = {
    "reconstructions": Source(
        _reconstructions,
        "validation images, decoded from their posteriors' centers",
        stream=0,
        splits=("valid",),
        one_each_of="valid",
    ),
    **{name: _sampled_from(name, spec) for name, spec in DENSITIES.items()},
    "interpolations": Source(
        _interpolations,
        "decoded from the midpoints, on the great circle, of random pairs of validation codes",
        stream=6,
        splits=("valid",),
    ),
}


def _generator(trained: TrainedModel, name: str) -> np.random.Generator:
    """Returns the noise of one source, which does not depend on other sources."""
    return generator(trained.rng, SOURCES[name].stream)
