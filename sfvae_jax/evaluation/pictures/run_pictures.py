"""The pictures that every run has, with any evaluations.

Each is first computed, as a `Drawing`, and then drawn, at the end of a run or while it trains on.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfvae_jax.data import to_unit_interval
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.bounds.collapse import collapse_fraction, kl_matrix
from sfvae_jax.evaluation.bounds.reconstruction import reconstructions
from sfvae_jax.evaluation.figures import Drawing
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.pictures.latent_codes import (
    draw_latent_plane,
    encoded,
    labels_of,
    varied,
)
from sfvae_jax.evaluation.pictures.prior_images import manifold, prior_samples
from sfvae_jax.evaluation.sequences.pictures import sequence_tables
from sfvae_jax.evaluation.trained_model import TrainedModel

_ROWS = 5  # of samples


def draw_training(records: Sequence[dict[str, Any]], title: str, folder: Path) -> bool:
    """Draws training.png, the curves of training.

    Args:
        records: the records of metrics.jsonl.
        title: what the figure's title begins with.
        folder: where it is written.

    Returns:
        Whether there was anything to draw.
    """
    shown = [record for record in records if record.keys() & figures.PANELS.keys()]
    if shown:
        figures.draw_training(shown, f"{title}: training", folder / "training.png")
    return bool(shown)


def at_a_step(trained: TrainedModel, latent_size: int, title: str) -> Iterator[Drawing]:
    """Yields the pictures of a step in `evaluations.steps`: divergences, and what is decoded.

    Of images these are the pictures that are drawn at the end of a run as well; of sequences,
    tables of reconstructions and of texts decoded from the prior.

    Args:
        trained: the model and the examples.
        latent_size: number of latents m.
        title: what the figures' titles begin with.
    """
    yield from latent_kl(trained, title)
    if trained.language is None:
        yield from images(trained, latent_size, title)
    else:
        yield from sequence_tables(trained, ("prior",), title)


def latent_kl(trained: TrainedModel, title: str) -> Iterator[Drawing]:
    """Yields latent_kl.png, the KL divergence of each latent, if the posterior has one."""
    try:
        kl = kl_matrix(trained)
    except NotApplicable:
        return
    limits = {"epsilon": trained.config.collapse.epsilon, "delta": trained.config.collapse.delta}
    fraction = collapse_fraction(kl, **limits)

    def draw(path: Path) -> None:
        figures.draw_latent_kl(kl, **limits, fraction=fraction, title=title, path=path)

    yield Drawing("latent_kl.png", draw)


def images(trained: TrainedModel, latent_size: int, title: str) -> Iterator[Drawing]:
    """Yields reconstructions.png; samples.png, given a prior; and the plane of two latents.

    Args:
        trained: a model of images.
        latent_size: number of latents m.
        title: what the figures' titles begin with.
    """
    num_pictured = min(trained.config.num_pictured, len(trained.images))
    yield _reconstructions(trained, num_pictured, title)
    if trained.prior_stddev is not None:
        rows = prior_samples(trained, latent_size, (_ROWS, num_pictured)) / trained.data_scale
        yield _rows(
            "samples.png",
            {f"row {i + 1}": row for i, row in enumerate(rows)},
            f"{title}: samples of the prior, decoded",
        )
    if latent_size == 2:
        yield from _plane(trained, title)


def _reconstructions(trained: TrainedModel, num_pictured: int, title: str) -> Drawing:
    stored: Any = trained.images[:num_pictured]
    originals = np.asarray(to_unit_interval(stored))
    rebuilt = reconstructions(trained, num_pictured)
    return _rows(
        "reconstructions.png",
        {"image": originals} | {key: row / trained.data_scale for key, row in rebuilt.items()},
        f"{title}: reconstructions",
    )


def _rows(name: str, rows: dict[str, np.ndarray], title: str) -> Drawing:
    return Drawing(name, functools.partial(figures.draw_images, rows, title))


def _plane(trained: TrainedModel, title: str) -> Iterator[Drawing]:
    """Yields latent_plane.png, posterior_variances.png and manifold.png."""
    codes, labels = encoded(trained), labels_of(trained)
    yield Drawing(
        "latent_plane.png", functools.partial(draw_latent_plane, codes, labels, f"{title}: codes")
    )
    yield from varied(trained, title)
    images = manifold(trained) / trained.data_scale
    draw = functools.partial(figures.draw_manifold, images, f"{title}: the latent plane, decoded")
    yield Drawing("manifold.png", draw)
