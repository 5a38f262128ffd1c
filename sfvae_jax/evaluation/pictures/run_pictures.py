"""The pictures that every run has, with any evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfvae_jax.data import to_unit_interval
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.bounds.collapse import collapse_fraction, kl_matrix
from sfvae_jax.evaluation.bounds.reconstruction import reconstructions
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.pictures.latent_codes import (
    draw_latent_plane,
    draw_varied,
    encoded,
    labels_of,
)
from sfvae_jax.evaluation.pictures.prior_images import manifold, prior_samples
from sfvae_jax.evaluation.trained_model import TrainedModel

_ROWS = 5  # of samples


def draw_training(records: Sequence[dict[str, Any]], title: str, folder: Path) -> bool:
    """Draws training.png, the curves of training.

    Args:
        records: the records of metrics.jsonl.
        title: the figure's title.
        folder: where it is written.

    Returns:
        Whether there was anything to draw.
    """
    shown = [record for record in records if record.keys() & figures.PANELS.keys()]
    if shown:
        figures.draw_training(shown, title, folder / "training.png")
    return bool(shown)


def draw_latent_kl(trained: TrainedModel, title: str, folder: Path) -> None:
    """Draws latent_kl.png, the KL divergence of each latent, if the posterior has one."""
    try:
        kl = kl_matrix(trained)
    except NotApplicable:
        return
    limits = {"epsilon": trained.config.collapse.epsilon, "delta": trained.config.collapse.delta}
    fraction = collapse_fraction(kl, **limits)
    path = folder / "latent_kl.png"
    figures.draw_latent_kl(kl, **limits, fraction=fraction, title=title, path=path)


def draw_images(trained: TrainedModel, latent_size: int, title: str, folder: Path) -> None:
    """Draws reconstructions.png; samples.png, given a prior; and the plane of two latents.

    Args:
        trained: a model of images.
        latent_size: number of latents m.
        title: what the figures' titles begin with.
        folder: where they are written.
    """
    num_pictured = min(trained.config.num_pictured, len(trained.images))
    _draw_reconstructions(trained, num_pictured, title, folder)
    if trained.prior_stddev is not None:
        rows = prior_samples(trained, latent_size, (_ROWS, num_pictured)) / trained.data_scale
        figures.draw_images(
            {f"row {i + 1}": row for i, row in enumerate(rows)},
            f"{title}: means of p(x|z) for z from the prior",
            folder / "samples.png",
        )
    if latent_size == 2:
        _draw_plane(trained, title, folder)


def _draw_reconstructions(
    trained: TrainedModel, num_pictured: int, title: str, folder: Path
) -> None:
    stored: Any = trained.images[:num_pictured]
    originals = np.asarray(to_unit_interval(stored))
    rebuilt = reconstructions(trained, num_pictured)
    figures.draw_images(
        {"image": originals} | {key: row / trained.data_scale for key, row in rebuilt.items()},
        f"{title}: reconstructions",
        folder / "reconstructions.png",
    )


def _draw_plane(trained: TrainedModel, title: str, folder: Path) -> None:
    """Draws latent_plane.png, posterior_variances.png and manifold.png."""
    path = folder / "latent_plane.png"
    draw_latent_plane(encoded(trained), labels_of(trained), title, path)
    draw_varied(trained, title, folder)
    images = manifold(trained) / trained.data_scale
    figures.draw_manifold(images, f"{title}: manifold", folder / "manifold.png")
