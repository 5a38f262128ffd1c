"""The evaluation `pictures`: what a model has learned, to be looked at."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.data import to_unit_interval
from sfvae_jax.evaluation.generation.interpolation import slerp
from sfvae_jax.evaluation.generation.sources import DENSITIES, generate
from sfvae_jax.evaluation.pictures.samples import encoded, manifold
from sfvae_jax.evaluation.pictures.traversals import latent_order, nearest, traversals
from sfvae_jax.evaluation.trained_model import (
    NotApplicable,
    TrainedModel,
    centers,
    decode_means,
    latent_size,
    part_images,
)
from sfvae_jax.options import DRAWN, POSITIVE, Option, some_of, whole

log = logging.getLogger("sfvae_jax")

OPTIONS = {
    "num_traversed": Option(2, DRAWN, "images with a picture of their own, traversals_<i>.png"),
    "num_dimensions": Option(
        10, whole(0, 1000), "latent dimensions in it, from the most informative down; 0 = all"
    ),
    "num_values": Option(9, DRAWN, "of each dimension, from -limit to limit"),
    "limit": Option(3.0, POSITIVE, "standard deviations of the prior (SFVAE Figure 3)"),
    "num_interpolations": Option(6, DRAWN, "pairs of images"),
    "num_steps": Option(9, DRAWN, "from one image of a pair to the other"),
    "sources": Option(
        ("optimal_prior", "gaussian", "gmm"),
        some_of("source", DENSITIES),
        "densities that samples are drawn from, besides the prior",
    ),
    "num_samples": Option(
        8, DRAWN, "of the mixture that is fitted to the training codes, beside their neighbours"
    ),
    "num_neighbours": Option(5, DRAWN, "nearest training images of each (RAE Figure 6)"),
    "manifold_side": Option(20, DRAWN, "images a side of the manifold of two latents"),
    "manifold_limit": Option(
        5.0, POSITIVE, "standard deviations of the prior that it reaches to (SFVAE Figure 2)"
    ),
}

_ROWS = 5


def evaluate_pictures(trained: TrainedModel, options: ml_collections.ConfigDict) -> dict:
    """`pictures` and `sequence_pictures` have no measures; what they draw is what they are for."""
    del trained, options
    return {}


def draw_gallery(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Traversals, interpolations, samples, their neighbours; variances or, of two, the manifold.

    Args:
        trained: model and images.
        options: a group with the keys of `OPTIONS`.
        results: of the run; not used.
        title: of the pictures.
        folder: where traversals_<i>.png, interpolations.png, samples_<source>.png, neighbours.png
            and manifold_wide.png are written, and posterior_variances.png, which of two latents
            every run draws.
    """
    del results
    _draw_traversals(trained, options, title, folder)
    _draw_interpolations(trained, options, title, folder)
    _draw_samples(trained, options, title, folder)
    _draw_neighbours(trained, options, title, folder)
    if latent_size(trained) == 2:
        _draw_manifold(trained, options, title, folder)
    else:
        _draw_variances(trained, title, folder)


def _draw_traversals(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    from sfvae_jax.evaluation import figures

    order, scores, name = latent_order(trained)
    dimensions = order[: options.num_dimensions or None]
    values = np.linspace(-options.limit, options.limit, options.num_values)
    images = trained.images[: options.num_traversed]
    for number, code in enumerate(centers(trained, images)):
        original = np.asarray(to_unit_interval(images[number]))
        rebuilt = decode_means(trained, code) / trained.data_scale
        moved = traversals(trained, code, dimensions, values) / trained.data_scale
        rows = {
            f"{dimension + 1} ({scores[dimension]:.2g})": np.stack([original, rebuilt, *row])
            for dimension, row in zip(dimensions, moved, strict=True)
        }
        figures.draw_images(
            rows,
            f"{title}: latent dimensions from -{options.limit:g} to {options.limit:g}"
            f" (their {name}); first the image and its reconstruction",
            folder / f"traversals_{number}.png",
        )


def _draw_interpolations(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    from sfvae_jax.evaluation import figures

    pairs = min(options.num_interpolations, len(trained.images) // 2)
    if not pairs:
        return
    codes = centers(trained, trained.images[: 2 * pairs])
    weights = np.linspace(0.0, 1.0, options.num_steps)
    ways = np.stack([slerp(codes[:pairs], codes[pairs:], weight) for weight in weights], axis=1)
    images = decode_means(trained, ways) / trained.data_scale
    figures.draw_images(
        {f"pair {i + 1}": row for i, row in enumerate(images)},
        f"{title}: spherical interpolations of codes",
        folder / "interpolations.png",
    )


def _draw_samples(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    """samples_<source>.png of every density that this model has (RAE Figure 1, BACK Figure 17)."""
    from sfvae_jax.evaluation import figures

    side = trained.config.num_pictured
    for source in options.sources:
        try:
            images = _samples(trained, source, side * _ROWS)
        except NotApplicable:
            continue
        rows = images.reshape(_ROWS, side, *images.shape[1:])
        figures.draw_images(
            {f"row {i + 1}": row for i, row in enumerate(rows)},
            f"{title}: means of p(x|z) for z from {source.replace('_', ' ')}",
            folder / f"samples_{source}.png",
        )


def _draw_neighbours(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    """neighbours.png: does the mixture only give back what it is fitted to? (RAE Figure 6)."""
    from sfvae_jax.evaluation import figures

    try:
        samples = _samples(trained, "gmm", options.num_samples)
    except NotApplicable as error:
        log.info("neighbours.png is not drawn: %s", error)
        return
    others = part_images(trained, "train")
    indices = nearest(samples, others, min(options.num_neighbours, len(others)))
    rows = {
        f"sample {i + 1}": np.stack([sample, *np.asarray(to_unit_interval(others[near]))])
        for i, (sample, near) in enumerate(zip(samples, indices, strict=True))
    }
    figures.draw_images(
        rows,
        f"{title}: samples of the mixture of {trained.config.generated.gmm_components} Gaussians"
        " fitted to the training codes, and the nearest training images",
        folder / "neighbours.png",
    )


def _samples(trained: TrainedModel, source: str, number: int) -> np.ndarray:
    """Images of a source as pixels in [0, 1], [number, ...]."""
    return generate(trained, source, number).astype(np.float32) / 255.0


def _draw_manifold(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    from sfvae_jax.evaluation import figures

    limit = options.manifold_limit
    images = manifold(trained, options.manifold_side, limit) / trained.data_scale
    figures.draw_manifold(images, f"{title}: [-{limit:g}, {limit:g}]", folder / "manifold_wide.png")


def _draw_variances(trained: TrainedModel, title: str, folder: Path) -> None:
    from sfvae_jax.evaluation.pictures import latent_codes

    labels = trained.labels_of(trained.config.part) if trained.labels_of else None
    latent_codes.draw_varied(trained, encoded(trained), labels, title, folder)
