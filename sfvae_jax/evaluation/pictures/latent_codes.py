"""Posteriors of many images, and pictures of them: the latent plane, variances against means.

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder".
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.evaluation import style
from sfvae_jax.evaluation.figures import Drawing, new_figure, save
from sfvae_jax.evaluation.pictures.traversals import latent_order
from sfvae_jax.evaluation.trained_model import TrainedModel, once_per_checkpoint
from sfvae_jax.posteriors import DiagonalGaussian

_MOST_POINTS = 2000  # most points in one of several panels
_MOST_DIMENSIONS = 4  # most latents whose variances are drawn


class Encoded(NamedTuple):
    """The posteriors of N images, as NumPy arrays.

    Attributes:
        means: the posteriors' centers, [N, m].
        variances: variances [N, m] of diagonal Gaussians; None for other posteriors.
        samples: one sample of each posterior, [N, m]; None for points.
    """

    means: np.ndarray
    variances: np.ndarray | None
    samples: np.ndarray | None

    @property
    def are_varied(self) -> bool:
        """Whether a variance differs between the images."""
        if self.variances is None:
            return False
        return bool(np.any(np.ptp(self.variances, axis=0) > 1e-6 * np.max(self.variances, axis=0)))


@once_per_checkpoint
def encoded(trained: TrainedModel) -> Encoded:
    """Returns center, variance and a sample of each image's posterior."""

    def encode(params: Any, x: Array, key: Array) -> Encoded:
        posterior = trained.encode(params, x)
        center = posterior.center()
        variances: Any = None
        samples: Any = None
        if isinstance(posterior, DiagonalGaussian):
            variances = jnp.broadcast_to(jnp.square(posterior.stddev), center.shape)
        if hasattr(posterior, "sample_and_log_prob"):
            samples, _ = posterior.sample_and_log_prob(key)
        return Encoded(center, variances, samples)

    return trained.map_images(encode, key="encoded")


def labels_of(trained: TrainedModel) -> np.ndarray | None:
    """Returns the labels [N] of a model's images, or None if they have none."""
    return trained.labels_of(trained.config.part) if trained.labels_of else None


def draw_latent_plane(encoded: Encoded, labels: np.ndarray | None, title: str, path: Path) -> None:
    """Draws posterior means and samples, coloured by label (BACK Figures 2, 5 and 9 to 15).

    Each label also stands in the middle of its means.

    Args:
        encoded: posteriors with two latents.
        labels: labels of the images, [N], or None.
        title: the figure's title.
        path: where the picture is written.
    """
    drawn = {"mean": encoded.means}
    if encoded.samples is not None:
        drawn["sample"] = encoded.samples
    figure = new_figure(1.6 + 4.6 * len(drawn), 5.2)
    figure.suptitle(title)
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    shown = np.zeros(len(encoded.means), int) if labels is None else labels
    limits = _square_around(np.concatenate(list(drawn.values())))
    for axes, (name, codes) in zip(panels, drawn.items(), strict=True):
        _scatter(axes, codes[:, 0], codes[:, 1], shown)
        axes.set(xlabel=f"{name} of latent 1", ylabel=f"{name} of latent 2")
        axes.set(aspect="equal", **limits)
        _write_labels(axes, codes, shown)
    _say_labels(axes, shown)
    save(figure, path, panel=panels[0])


def varied(trained: TrainedModel, title: str) -> Iterator[Drawing]:
    """Yields posterior_variances.png of the most informative latents, if the variances differ.

    Args:
        trained: the model and its images.
        title: what the figure's title begins with.
    """
    posteriors = encoded(trained)
    if trained.prior_stddev is None or not posteriors.are_varied:
        return
    order, _, _ = latent_order(trained)
    draw = functools.partial(
        draw_posterior_variances,
        posteriors,
        np.broadcast_to(trained.prior_stddev, posteriors.means.shape[1:]),
        sorted(order[:_MOST_DIMENSIONS]),
        labels_of(trained),
        f"{title}: posterior variances against means, in units of the prior",
    )
    yield Drawing("posterior_variances.png", draw)


def draw_posterior_variances(
    encoded: Encoded,
    prior_stddev: np.ndarray,
    dimensions: Sequence[int],
    labels: np.ndarray | None,
    title: str,
    path: Path,
) -> None:
    """Draws the variance of each latent against the mean of each (BACK Figure 3).

    The panels show sigma_i^2 / s_i^2 on a logarithmic scale against mu_j / s_j.

    Args:
        encoded: posteriors with variances.
        prior_stddev: s, the prior's standard deviations, [m].
        dimensions: the latents to draw.
        labels: labels of the images, [N], or None.
        title: the figure's title.
        path: where the picture is written.
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
            _scatter(axes, means[:, j], variances[:, i], shown)
            axes.set_yscale("log")
        panels[row, 0].set_ylabel(f"variance of latent {i + 1}")
        panels[-1, row].set_xlabel(f"mean of latent {i + 1}")
    _say_labels(axes, shown)
    save(figure, path)


def _square_around(codes: np.ndarray) -> dict[str, tuple[float, float]]:
    """Returns axes limits of equal length that contain all codes [N, 2]."""
    middle = (codes.min(axis=0) + codes.max(axis=0)) / 2.0
    reach = 1.05 * max(np.max(np.abs(codes - middle)), 1e-3)
    (left, bottom), (right, top) = middle - reach, middle + reach
    return {"xlim": (left, right), "ylim": (bottom, top)}


def _colors(shown: np.ndarray) -> dict[float, str]:
    """Returns the colour of each label; none if there are too many. A digit always has the same."""
    found = np.unique(shown)
    if len(found) > len(style.CLASSES):
        return {}
    are_digits = np.isin(found, np.arange(len(style.CLASSES))).all()
    places = found.astype(int) if are_digits else range(len(found))
    return {label: style.CLASSES[place] for label, place in zip(found, places, strict=True)}


def _scatter(axes: Any, x: np.ndarray, y: np.ndarray, shown: np.ndarray) -> None:
    """Draws points in the colours of their labels."""
    colors = _colors(shown)
    c = [colors[label] for label in shown] if colors else shown
    axes.scatter(x, y, c=c, s=4, cmap=None if colors else "viridis", rasterized=True)


def _write_labels(axes: Any, codes: np.ndarray, shown: np.ndarray) -> None:
    """Writes each label in the middle of its codes, unless there are too many."""
    colors = _colors(shown)
    if len(colors) < 2:
        return
    from matplotlib.patheffects import withStroke  # after the first figure

    outline = [withStroke(linewidth=3, foreground="white")]
    for label, color in colors.items():
        middle = np.median(codes[shown == label], axis=0)
        text = {"color": color, "weight": "bold", "ha": "center", "va": "center", "fontsize": 15}
        axes.text(*middle, f"{label:g}", path_effects=outline, **text)


def _say_labels(axes: Any, shown: np.ndarray) -> None:
    """Adds a legend of the labels' colours beside the axes, unless there are too many."""
    colors = _colors(shown)
    if len(colors) < 2:
        return
    dots = [axes.plot([], [], "o", color=color)[0] for color in colors.values()]
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "title": "label"}
    axes.legend(dots, [f"{label:g}" for label in colors], **beside)
