"""Draws README's picture: digits decoded by two runs of one experiment, and their live latents.

  python -m sfvae_jax.main --config=configs/mnist_collapse.py:laptop --workdir=runs/sampling_free
  python -m sfvae_jax.main --config=configs/mnist_collapse.py:laptop \
      --config.objective.name=sampling --workdir=runs/sampling
  python -m book.front_picture runs/sampling_free runs/sampling

It writes docs/figures/front.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import sfvae_jax
from sfvae_jax import data
from sfvae_jax.evaluation import style
from sfvae_jax.evaluation.bounds.collapse import collapse_fraction
from sfvae_jax.evaluation.figures import new_figure

PATH = Path(__file__).resolve().parents[1] / "docs" / "figures" / "front.png"
NAMES = {"sampling_free": "trained without sampling", "sampling": "trained by sampling"}
DIGITS = 8
EPSILON, DELTA = 0.05, 0.01  # in nats, and a share of the images: those of `collapse_fraction`


def draw(workdirs: Sequence[str], path: Path) -> None:
    """Draws the picture of a sampling-free run and a sampling run of the same images."""
    runs = [sfvae_jax.load(workdir) for workdir in workdirs]
    x = data.load(runs[0].config.data, "train")
    labels = data.load_labels(runs[0].config.data, "train")
    chosen = np.array([np.flatnonzero(labels == digit)[0] for digit in range(DIGITS)])
    figure = new_figure(10.5, 3.2)
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.0)
    left, right = figure.subfigures(1, 2, width_ratios=(1.75, 1))
    rows = [("input", style.BLACK, x[chosen] / 255)]
    axis = right.subplots()
    for run, (objective, name) in zip(runs, NAMES.items(), strict=True):
        colour = style.METHODS[objective].color
        q = run.encode(x)
        z, stddev = q.mean[chosen], q.stddev[chosen]
        sampled = z + stddev * jax.random.normal(jax.random.key(0), z.shape)
        rows.append((f"{name}:\nat the code", colour, run.decode(z)))
        rows.append(("at a sample", colour, run.decode(sampled)))
        kl = np.asarray(jax.vmap(lambda one: one.kl_per_dimension())(q))
        largest = np.sort(np.quantile(kl, 1 - DELTA, axis=0))[::-1]
        alive = round((1 - collapse_fraction(kl, epsilon=EPSILON, delta=DELTA)) * kl.shape[1])
        places = np.arange(1, kl.shape[1] + 1)
        label = f"{name}: {alive} of {kl.shape[1]} alive"
        axis.plot(places, largest, color=colour, lw=2.5, label=label)
        axis.plot(places, np.sort(kl.mean(axis=0))[::-1], color=colour, lw=1, ls="--")
    grid = left.subplots(len(rows), DIGITS)
    for (name, colour, images), axes in zip(rows, grid, strict=True):
        for image, one in zip(images, axes, strict=True):
            one.imshow(np.asarray(image)[..., 0], cmap="gray", vmin=0, vmax=1)
            one.set(xticks=[], yticks=[])
            one.spines[:].set_visible(False)
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center", color=colour)
    axis.axhline(EPSILON, color=style.BLACK, ls=":", lw=1.2, label=f"collapsed below {EPSILON}")
    axis.set(yscale="log", xlabel="latents, sorted", ylabel="KL divergence (nats)")
    axis.legend(loc="upper right", bbox_to_anchor=(1.05, 1.35))
    style.dress(figure)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str]) -> int:
    """Draws the picture; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sampling_free", help="the workdir of the run without sampling")
    parser.add_argument("sampling", help="the workdir of the run by sampling")
    flags = parser.parse_args(argv)
    draw((flags.sampling_free, flags.sampling), PATH)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
