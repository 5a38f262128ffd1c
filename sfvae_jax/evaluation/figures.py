"""The pictures of a run, and how any picture is written.

matplotlib is loaded when the first figure is made, and nowhere else: training imports this file,
but need not wait for matplotlib.
"""

from __future__ import annotations

import functools
import io
import logging
import math
import os
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sfvae_jax.evaluation import style
from sfvae_jax.runtime.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend


class Drawing(NamedTuple):
    """A picture whose values are computed: any thread can draw it while the model trains on.

    Attributes:
        name: the name of its file.
        draw: writes it to a path; needs neither the model nor JAX.
    """

    name: str
    draw: Callable[[Path], None]


def draw_all(drawings: Iterable[Drawing], folder: Path) -> None:
    """Draws pictures into a folder, each before the values of the next are computed."""
    for name, draw in drawings:
        draw(folder / name)


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure with a canvas of its own, which needs neither pyplot nor a display."""
    _font_cache()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@functools.cache
def _font_cache() -> tempfile.TemporaryDirectory | None:
    """Keeps matplotlib's font cache out of the home directory: a run only writes to its workdir."""
    if "MPLCONFIGDIR" in os.environ:
        return None
    folder = tempfile.TemporaryDirectory()
    os.environ["MPLCONFIGDIR"] = folder.name
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # it tells of the cache
    return folder


_DOTS = 120  # per inch
_MOST_PIXELS = 30_000  # in either direction
_saving = threading.Lock()  # settings of matplotlib change while a figure is written
PANEL = "Panel"  # the text in a PNG that says where its own picture is


def save(
    figure: Figure,
    path: Path,
    metadata: Mapping[str, str | None] | None = None,
    panel: Axes | None = None,
) -> None:
    """Writes a PNG, whole or not at all, in the style of all pictures and with all texts literal.

    A figure with very many rows has fewer dots per inch.

    Args:
        figure: the figure.
        path: where the file is written.
        metadata: texts that are stored in the PNG, by their keywords; None drops one of
            matplotlib's.
        panel: the part of the figure that is worth showing beside other figures, without title and
            legend. The file says where it is, under `PANEL`: left, top, right and bottom in [0, 1].

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    from sfvae_jax.evaluation.plain_text import texts_as_given

    style.dress(figure)
    picture = io.BytesIO()
    dots = min(_DOTS, _MOST_PIXELS / max(figure.get_size_inches()))
    with _saving, texts_as_given(figure):
        texts = {**(metadata or {}), **({} if panel is None else {PANEL: _place(figure, panel)})}
        figure.savefig(picture, format="png", dpi=dots, metadata=texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, picture.getvalue())


def _place(figure: Figure, panel: Axes) -> str:
    """Returns where axes are in a figure; numbers at ticks count unless they show an image."""
    figure.draw_without_rendering()
    shown = panel.bbox if panel.images else panel.get_tightbbox(bbox_extra_artists=[])
    box = shown.transformed(figure.transFigure.inverted())
    places = (box.x0, 1.0 - box.y1, box.x1, 1.0 - box.y0)
    return " ".join(f"{min(max(place, 0.0), 1.0):.5f}" for place in places)


_COLUMNS = 4  # most panels in a row
PANELS = {
    "loss": "loss per example",
    "log_likelihood": "log likelihood (nats)",
    "kl": "KL divergence (nats)",
    "squared_error": "squared error",
    "code_norm": "squared norm of the code",
    "penalty": "decoder penalty, unweighted",
    "bend": "decoder's bend, unweighted (nats)",
    "grad_norm": "gradient norm",
}


def draw_training(records: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Draws the training curves: the loss, the parts that the objective has, the gradient's norm.

    At least one record must have one of them.
    """
    steps = [record["step"] for record in records]
    present = [key for key in PANELS if any(key in record for record in records)]
    columns = min(len(present), _COLUMNS)
    rows = math.ceil(len(present) / columns)
    figure = new_figure(3.4 * columns, 3.0 * rows + 0.4)
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(present) :]:
        axes.set_visible(False)
    for axes, key in zip(grid, present, strict=False):
        label = "train" if key == "loss" else None
        values = [record.get(key, math.nan) for record in records]
        axes.plot(steps, values, color=style.SPLITS["train"], linewidth=1.2, label=label)
        if key == "loss" and any("validation_loss" in record for record in records):
            validated = [r for r in records if "validation_loss" in r]
            losses = [record["validation_loss"] for record in validated]
            at = [record["step"] for record in validated]
            axes.plot(at, losses, color=style.SPLITS["valid"], label="valid")
            axes.legend()
        axes.set(xlabel="step", ylabel=PANELS[key])
    save(figure, path)


def draw_latent_kl(
    kl: np.ndarray, *, epsilon: float, delta: float, fraction: float, title: str, path: Path
) -> None:
    """Draws the sorted KL divergences of all latents: means, and the quantiles of collapse."""
    mean = np.sort(kl.mean(axis=0))[::-1]
    quantile = np.sort(np.quantile(kl, 1.0 - delta, axis=0, method="inverted_cdf"))[::-1]
    ranks = np.arange(1, kl.shape[1] + 1)
    figure = new_figure(7, 4)
    axes = figure.subplots()
    largest = f"{1 - delta:.0%} quantile over examples"
    axes.plot(ranks, quantile, ".", color=style.BLUE, label=largest)
    axes.plot(ranks, mean, ".", color=style.GREEN, label="mean over examples")
    axes.axhline(epsilon, color=style.BLACK, linestyle=":", label=f"collapsed below {epsilon:g}")
    axes.set(
        xlabel="latent dimension, sorted",
        ylabel="KL divergence (nats)",
        title=f"{title}: {fraction:.1%} of {kl.shape[1]} latents collapsed",
    )
    axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], 1e-8))
    axes.legend()
    save(figure, path)


def draw_images(rows: dict[str, np.ndarray], title: str, path: Path) -> None:
    """Draws a row of images for each entry, an array [N, ...] of pixels in [0, 1]."""
    tiles = [[as_color(image) for image in images] for images in rows.values()]
    height, width = tiles[0][0].shape[:2]
    gap = max(1, height // 16)
    canvas = np.ones((len(tiles) * (height + gap) - gap, len(tiles[0]) * (width + gap) - gap, 3))
    for i, line in enumerate(tiles):
        for j, tile in enumerate(line):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = tile
    inches = 0.95 * len(rows) * height / width + 0.5
    figure = new_figure(0.9 * len(tiles[0]) + 1.2, max(inches, 1.5))
    figure.suptitle(title)
    axes = figure.subplots()  # one for all images, since making axes takes most of the time
    axes.imshow(canvas, interpolation="nearest")
    centers = height / 2 - 0.5 + (height + gap) * np.arange(len(rows))
    axes.set_yticks(centers, list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save(figure, path, panel=axes)


def draw_manifold(images: np.ndarray, title: str, path: Path) -> None:
    """Draws a grid of images [side, side, ...] without gaps (BACK Figures 12 to 15)."""
    tiles = [np.concatenate([as_picture(image) for image in row], axis=1) for row in images]
    figure = new_figure(7, 7.4)
    axes = figure.subplots()
    axes.imshow(np.concatenate(tiles), cmap="gray", vmin=0.0, vmax=1.0)
    axes.set(xticks=[], yticks=[])
    figure.suptitle(title)
    save(figure, path, panel=axes)


_CHARACTER, _HANDLE, _LINE = 0.095, 0.75, 0.24  # inches in a legend below the panels


def legend_below(figure: Figure, handles: Mapping[str, Any]) -> None:
    """Adds one legend below all panels; the figure grows by the lines that it needs.

    Args:
        figure: the figure with its panels.
        handles: the legend's handles by label; long labels are broken into lines.
    """
    room = figure.get_figwidth() - _HANDLE
    labels = [textwrap.fill(label, int(room / _CHARACTER)) for label in handles]
    widest = max((len(line) for label in labels for line in label.splitlines()), default=1)
    fitting = int(figure.get_figwidth() / (_HANDLE + _CHARACTER * widest))
    columns = max(1, min(fitting, 4))
    lines = math.ceil(sum(label.count("\n") + 1 for label in labels) / columns)
    figure.set_figheight(figure.get_figheight() + _LINE * max(lines - 2, 0))
    place = {"loc": "outside lower center", "ncols": columns, "fontsize": style.LEGEND}
    add_legend(figure, list(handles.values()), labels, **place)


def add_legend(place: Any, handles: Sequence[Any], labels: Sequence[str], **options: Any) -> Legend:
    """Adds a legend; matplotlib's own leaves out labels that begin with `_`.

    Args:
        place: the figure or axes that it belongs to.
        handles: what the labels name.
        labels: one for each handle.
        options: what else matplotlib's `legend` takes.
    """
    legend = place.legend(handles, [f"label {i}" for i in range(len(labels))], **options)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
    return legend


def as_color(image: np.ndarray) -> np.ndarray:
    """Returns an example as [H, W, 3] in [0, 1]."""
    picture = as_picture(image)
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)


def as_picture(image: np.ndarray) -> np.ndarray:
    """Returns an example as [H, W] or [H, W, 3] in [0, 1]; a vector becomes a square or a strip."""
    image = np.clip(np.asarray(image, np.float32), 0.0, 1.0)
    if image.ndim == 3 and image.shape[-1] == 3:
        return image
    if image.ndim == 3 and image.shape[-1] == 1:
        return image[..., 0]
    if image.ndim == 2:
        return image
    side = math.isqrt(image.size)
    return image.reshape(side, side) if side * side == image.size else image.reshape(1, -1)
