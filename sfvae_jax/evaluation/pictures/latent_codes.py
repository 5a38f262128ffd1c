"""Pictures of what the encoder gives: the latent plane, and variances against means (BACK)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfvae_jax.evaluation.figures import new_figure, save
from sfvae_jax.evaluation.pictures.samples import Encoded
from sfvae_jax.evaluation.pictures.traversals import latent_order
from sfvae_jax.evaluation.trained_model import TrainedModel

_MOST_POINTS = 2000  # in one of many panels
_MOST_DIMENSIONS = 4  # whose variances are drawn


def draw_latent_plane(encoded: Encoded, labels: np.ndarray | None, title: str, path: Path) -> None:
    """Posterior means by label and, beside them, samples (BACK Figures 2, 5 and 9 to 15).

    Args:
        encoded: of two latents.
        labels: of the images, [N], or None.
        title: of the figure.
        path: of the file.
    """
    drawn = {"mean": encoded.means, "sample": encoded.samples}
    drawn = {name: codes for name, codes in drawn.items() if codes is not None}
    figure = new_figure(1.6 + 4.6 * len(drawn), 5.2)
    figure.suptitle(title)
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    shown = np.zeros(len(encoded.means), int) if labels is None else labels
    limits = _square_around(np.concatenate(list(drawn.values())))
    for axes, (name, codes) in zip(panels, drawn.items(), strict=True):
        points = axes.scatter(*codes.T, **_style(shown))
        axes.set(xlabel=f"{name} 1", ylabel=f"{name} 2", aspect="equal", **limits)
    _say_labels(axes, points, shown)
    save(figure, path, panel=panels[0])


def draw_varied(
    trained: TrainedModel,
    encoded: Encoded,
    labels: np.ndarray | None,
    title: str,
    folder: Path,
) -> None:
    """posterior_variances.png of the most informative latents, if the variances differ at all.

    Args:
        trained: the model.
        encoded: its images.
        labels: of the images, [N], or None.
        title: of the pictures.
        folder: where it is written.
    """
    if trained.prior_stddev is None or not encoded.are_varied:
        return
    order, _, _ = latent_order(trained)
    draw_posterior_variances(
        encoded,
        np.broadcast_to(trained.prior_stddev, encoded.means.shape[1:]),
        sorted(order[:_MOST_DIMENSIONS]),
        labels,
        f"{title}: posterior variances against means, in units of the prior",
        folder / "posterior_variances.png",
    )


def draw_posterior_variances(
    encoded: Encoded,
    prior_stddev: np.ndarray,
    dimensions: Sequence[int],
    labels: np.ndarray | None,
    title: str,
    path: Path,
) -> None:
    """The variance of each latent dimension against the mean of each (BACK Figure 3).

    In units of the prior, sigma_i^2 / s_i^2 against mu_j / s_j, on a logarithmic scale.

    Args:
        encoded: with variances.
        prior_stddev: s, [m].
        dimensions: of the m, those to draw.
        labels: of the images, [N], or None.
        title: of the figure.
        path: of the file.
    """
    some = np.linspace(0, len(encoded.means) - 1, min(len(encoded.means), _MOST_POINTS)).astype(int)
    means = (encoded.means / prior_stddev)[some]
    variances = (encoded.variances / prior_stddev**2)[some]
    shown = np.zeros(len(some), int) if labels is None else labels[some]
    number = len(dimensions)
    figure = new_figure(1.6 + 2.6 * number, 1.2 + 2.2 * number)
    figure.suptitle(title)
    panels = figure.subplots(number, number, sharex="col", sharey="row", squeeze=False)
    for row, i in enumerate(dimensions):
        for column, j in enumerate(dimensions):
            axes = panels[row, column]
            points = axes.scatter(means[:, j], variances[:, i], **_style(shown))
            axes.set_yscale("log")
        panels[row, 0].set_ylabel(f"variance {i + 1}")
        panels[-1, row].set_xlabel(f"mean {i + 1}")
    _say_labels(axes, points, shown)
    save(figure, path)


def _square_around(codes: np.ndarray) -> dict[str, tuple[float, float]]:
    """Limits of both axes, equally long, around all codes [N, 2]."""
    middle = (codes.min(axis=0) + codes.max(axis=0)) / 2.0
    reach = 1.05 * max(np.max(np.abs(codes - middle)), 1e-3)
    (left, bottom), (right, top) = middle - reach, middle + reach
    return {"xlim": (left, right), "ylim": (bottom, top)}


def _style(shown: np.ndarray) -> dict[str, Any]:
    colors = "tab10" if len(np.unique(shown)) <= 10 else "viridis"
    return {"c": shown, "s": 4, "cmap": colors, "rasterized": True}


def _say_labels(axes: Any, points: Any, shown: np.ndarray) -> None:
    """A legend of the labels' colours beside the axes, where there are not too many."""
    if 1 < len(np.unique(shown)) <= 10:
        beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "fontsize": "small"}
        # As plain numbers: its own would be formulas.
        axes.legend(*points.legend_elements(fmt="{x:g}"), title="label", **beside)
