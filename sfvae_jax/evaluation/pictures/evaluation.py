"""The evaluation `pictures`, which shows what a model of images has learned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.data import to_unit_interval
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.interpolation import interpolated_codes
from sfvae_jax.evaluation.generation.sources import generate
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.pictures.latent_codes import varied
from sfvae_jax.evaluation.pictures.prior_images import manifold
from sfvae_jax.evaluation.pictures.traversals import latent_order, nearest, traversals
from sfvae_jax.evaluation.spec import Evaluation, no_measures
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    centers,
    decode_means,
    latent_size,
    split_examples,
)
from sfvae_jax.options import DRAWN, POSITIVE, Option, some_of, whole

log = logging.getLogger("sfvae_jax")

OPTIONS = {
    "num_traversed": Option(2, DRAWN, "Number of images with a picture of traversals of their own"),
    "num_dimensions": Option(
        10, whole(0, 1000), "Number of latents to traverse, the most informative first; 0 = all"
    ),
    "num_values": Option(
        9, DRAWN, "Number of values of each latent in a traversal, from -limit to limit"
    ),
    "limit": Option(
        3.0, POSITIVE, "Largest value in a traversal, in standard deviations of the prior"
    ),
    "num_interpolations": Option(6, DRAWN, "Number of pairs of images to interpolate between"),
    "num_steps": Option(9, DRAWN, "Number of images in an interpolation"),
    "sources": Option(
        ("optimal_prior", "gaussian", "gmm"),
        some_of("source", DENSITIES),
        "Densities from which samples are drawn, besides the prior",
    ),
    "num_samples": Option(
        8, DRAWN, "Number of samples of the mixture to show with their nearest training images"
    ),
    "num_neighbours": Option(
        5, DRAWN, "Number of nearest training images of each of these samples"
    ),
    "manifold_side": Option(
        20, DRAWN, "Number of images on each side of the manifold of two latents"
    ),
    "manifold_limit": Option(
        5.0, POSITIVE, "Where the manifold ends, in standard deviations of the prior"
    ),
}

_ROWS = 5  # of samples
_IN_WORDS = {
    "prior": "the prior",
    "optimal_prior": "the optimal prior",
    "gaussian": "a Gaussian fitted to the codes",
    "gmm": "a Gaussian mixture fitted to the codes",
    "second_stage": "a second-stage VAE of the codes",
}


def draw_gallery(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws traversals, interpolations, samples and their neighbours, and the plane of two latents.

    Args:
        trained: the model and its images.
        options: a group with the keys of `OPTIONS`.
        results: not used.
        title: what the figures' titles begin with.
        folder: where traversals_<i>.png, interpolations.png, samples_<source>.png and
            neighbours.png are written; also manifold_wide.png if there are two latents, else
            posterior_variances.png, which every run with two latents has anyway.
    """
    del results
    _draw_traversals(trained, options, title, folder)
    _draw_interpolations(trained, options, title, folder)
    _draw_samples(trained, options, title, folder)
    _draw_neighbours(trained, options, title, folder)
    if latent_size(trained) == 2:
        _draw_manifold(trained, options, title, folder)
    else:
        figures.draw_all(varied(trained, title), folder)


def _draw_traversals(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    order, scores, name = latent_order(trained)
    dimensions = order[: options.num_dimensions or None]
    values = np.linspace(-options.limit, options.limit, options.num_values)
    images = trained.images[: options.num_traversed]
    for number, code in enumerate(centers(trained, images)):
        original = np.asarray(to_unit_interval(images[number]))
        rebuilt = decode_means(trained, code) / trained.data_scale
        moved = traversals(trained, code, dimensions, values) / trained.data_scale
        rows = {}
        for dimension, row in zip(dimensions, moved, strict=True):
            of_latent = f"latent {dimension + 1}\n{name} {scores[dimension]:.2g}"
            here = f"here {code[dimension]:.1f}"
            rows[f"{of_latent}\n{here}"] = np.stack([original, rebuilt, *row])
        figures.draw_images(
            rows,
            f"{title}: each latent from -{options.limit:g} to {options.limit:g};"
            " first the image and its reconstruction, from the values that stand behind 'here'",
            folder / f"traversals_{number}.png",
        )


def _draw_interpolations(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    codes = interpolated_codes(trained, options.num_interpolations, options.num_steps)
    if not len(codes):
        return
    images = decode_means(trained, codes) / trained.data_scale
    figures.draw_images(
        {f"pair {i + 1}": row for i, row in enumerate(images)},
        f"{title}: from one image's code to another's",
        folder / "interpolations.png",
    )


def _draw_samples(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    """Draws samples_<source>.png for each density that the model has (RAE Fig. 1, BACK Fig. 17)."""
    side = trained.config.num_pictured
    for source in options.sources:
        try:
            images = _samples(trained, source, side * _ROWS)
        except NotApplicable:
            continue
        rows = images.reshape(_ROWS, side, *images.shape[1:])
        figures.draw_images(
            {f"row {i + 1}": row for i, row in enumerate(rows)},
            f"{title}: samples of {_IN_WORDS.get(source, source)}, decoded",
            folder / f"samples_{source}.png",
        )


def _draw_neighbours(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    """Draws neighbours.png: does the mixture repeat training images? (RAE Figure 6)."""
    try:
        samples = _samples(trained, "gmm", options.num_samples)
    except NotApplicable as error:
        log.info("neighbours.png is not drawn: %s", error)
        return
    others = split_examples(trained, "train")
    indices = nearest(samples, others, min(options.num_neighbours, len(others)))
    rows = {
        f"sample {i + 1}": np.stack([sample, *np.asarray(to_unit_interval(others[near]))])
        for i, (sample, near) in enumerate(zip(samples, indices, strict=True))
    }
    figures.draw_images(
        rows,
        f"{title}: samples of the mixture of {trained.config.generated.gmm_components} Gaussians,"
        " and beside each the nearest training images",
        folder / "neighbours.png",
    )


def _samples(trained: TrainedModel, source: str, number: int) -> np.ndarray:
    """Returns images of a source with pixels in [0, 1], [number, ...]."""
    return generate(trained, source, number).astype(np.float32) / 255.0


def _draw_manifold(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    limit = options.manifold_limit
    images = manifold(trained, options.manifold_side, limit) / trained.data_scale
    figures.draw_manifold(
        images,
        f"{title}: the latent plane from -{limit:g} to {limit:g}, decoded",
        folder / "manifold_wide.png",
    )


EVALUATION = Evaluation(
    no_measures,
    (),
    OPTIONS,
    summary="latent traversals, interpolations, samples of several densities and their nearest"
    " training images, and the manifold of two latents",
    source="SFVAE Figures 2, 3; RAE Figures 1, 4-6; BACK Figures 7, 17",
    splits=("train",),
    uses_generated=True,
    draw=draw_gallery,
)
