"""True and approximate posteriors of models with two latents, on a grid (GAPS Figure 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import figures, style
from sfvae_jax.evaluation.inference_gaps.families import FACTORISED
from sfvae_jax.evaluation.inference_gaps.gaps import log_evidence
from sfvae_jax.evaluation.inference_gaps.measured_split import MeasuredSplit
from sfvae_jax.evaluation.linearization.posterior import linearized_posteriors
from sfvae_jax.evaluation.trained_model import TrainedModel, latent_size, once_per_checkpoint
from sfvae_jax.posteriors import POSTERIORS

SIDE = 160  # points of the grid along each latent
_REACH = 5.0  # of the first, coarse grid, in standard deviations of the prior
_NUM_AUXILIARY = 64  # samples of v at each point, for an auxiliary flow's density of z
_NUM_PICTURED = 4
_TELLING = (FACTORISED, "full_covariance")  # families whose optima say which images to picture


class Row(NamedTuple):
    """One approximate posterior of each of the N pictured images.

    Attributes:
        posteriors: the posteriors, a pytree of arrays [N, ...].
        bounds: their ELBOs, in nats, [N].
        is_exact: whether log p(x) less the bound is KL(q(z|x) || p(z|x)), and not more.
        has_settled: whether the search for a posterior settled, [N].
    """

    posteriors: Any
    bounds: np.ndarray
    is_exact: bool
    has_settled: np.ndarray


class Grid(NamedTuple):
    """Points of the latent plane around one image's posterior.

    Attributes:
        points: the points, [SIDE, SIDE, 2].
        log_joint: log p(x, z) at the points, [SIDE, SIDE], in nats.
        log_evidence: log p(x) by a sum over the points, in nats.
    """

    points: np.ndarray
    log_joint: np.ndarray
    log_evidence: float


def choose(measured: MeasuredSplit, number: int = _NUM_PICTURED) -> dict[int, str]:
    """Chooses instructive images by their gaps (GAPS 5.1).

    These are the images for which a factorised Gaussian fits best; a correlated one gains most over
    it; the encoder is furthest from the best factorised one; and the true posterior is furthest
    from any Gaussian. Without the families that this takes, it chooses the first images.

    Args:
        measured: the bounds of the images.
        number: how many images to choose in the latter case.

    Returns:
        By the place of each image, what is written above its column.
    """
    optimal, lower = measured.bounds.optimal, measured.bounds.lower
    if not set(_TELLING) <= set(optimal) or lower is None:
        return {place: f"image {place}" for place in range(min(number, len(measured.images)))}
    factorised, full = (optimal[family] for family in _TELLING)
    evidence = log_evidence(measured.bounds)
    scores = {
        "a factorised Gaussian fits": -np.abs(evidence - factorised),
        "dependent": full - factorised,
        "badly amortized": factorised - lower,
        "not Gaussian": evidence - full,
    }
    chosen: dict[int, str] = {}
    for why, score in scores.items():
        free = [place for place in np.argsort(-score) if int(place) not in chosen]
        if free:
            place = int(free[0])
            said = why == "a factorised Gaussian fits" or score[place] > 0.0
            chosen[place] = why if said else f"image {place}"
    return chosen


def posterior_grid(trained: TrainedModel, image: np.ndarray, also: Sequence[Array] = ()) -> Grid:
    """Computes p(x, z) of one stored image on a grid where its posterior has its mass.

    Args:
        trained: a model with two latents.
        image: stored image.
        also: further latents [2] that the grid must cover.
    """
    scale = np.broadcast_to(np.asarray(trained.prior(), np.float64), (2,))
    low, high = -_REACH * scale, _REACH * scale
    for _ in range(2):  # a coarse grid, then a finer one where it found the mass
        points = _lattice(low, high)
        log_joint = _log_joint(trained, image, points)
        inside = points[log_joint > log_joint.max() - 12.0]
        around = np.concatenate([inside, np.asarray(also, np.float64).reshape(-1, 2)])
        margin = 0.08 * np.ptp(around, axis=0) + 2 * (high - low) / SIDE
        low, high = around.min(axis=0) - margin, around.max(axis=0) + margin
    points = _lattice(low, high)
    log_joint = _log_joint(trained, image, points)
    cell = np.prod((high - low) / (SIDE - 1))
    top = log_joint.max()
    total = top + np.log(np.sum(np.exp(log_joint - top)) * cell)
    return Grid(points, log_joint, float(total))


def log_density(posterior: Any, points: np.ndarray, rng: Array) -> np.ndarray | None:
    """Computes log q(z|x) at points [..., 2]; None if the posterior's density is not tractable.

    For an auxiliary flow, importance sampling of v gives q(z) = E[q(z, v) / r(v|z)], v ~ r(v|z).
    """
    one = _density_of(posterior)
    if one is None:
        return None
    flat = jnp.asarray(points.reshape(-1, 2), jnp.float32)
    keys = jax.random.split(rng, len(flat))
    values = jax.jit(jax.vmap(one))(keys, flat)
    return np.asarray(values, np.float64).reshape(points.shape[:-1])


def draw_posteriors(
    trained: TrainedModel, measured: MeasuredSplit, pictured: Sequence[int], title: str, path: Path
) -> None:
    """Draws each image's true posterior in a column, and over it what approximates it.

    The number in each panel is KL(q(z|x) || p(z|x)) in nats, with log p(x) from the grid. For an
    auxiliary flow it is the distance of the bound from log p(x), which is larger than the KL
    divergence by what the auxiliary variable costs. Nothing is drawn unless there are two latents.

    Args:
        trained: the model.
        measured: the images of one split and their bounds.
        pictured: places of the images to draw; empty: those that `choose` chooses.
        title: what the figure's title begins with.
        path: where the picture is written.

    Raises:
        UsageError: if there are not enough images for one of the places.
    """
    if latent_size(trained) != 2:
        return
    if any(place >= len(measured.images) for place in pictured):
        raise UsageError(
            "evaluations.inference_gaps.pictured must be indices below the number of images,"
            f" {len(measured.images)}; got {tuple(pictured)}"
        )
    chosen = {place: f"image {place}" for place in pictured} or choose(measured)
    places = list(chosen)
    rows = _rows(trained, measured, places)
    figure = figures.new_figure(2.6 * len(chosen) + 1.2, 2.6 * (1 + len(rows)))
    figure.suptitle(
        f"{title}: true posteriors (filled) and approximations (lines at 1, 2, 3 deviations)"
    )
    panels = figure.subplots(1 + len(rows), len(chosen), squeeze=False)
    for column, (place, why) in enumerate(chosen.items()):
        own = [_take(row.posteriors, column) for row in rows.values()]
        grid = posterior_grid(trained, measured.images[place], [q.center() for q in own])
        panels[0, column].set_title(why)
        _fill(panels[0, column], grid)
        for axes, posterior, row in zip(panels[1:, column], own, rows.values(), strict=True):
            _fill(axes, grid)
            outline(axes, grid, posterior, jax.random.fold_in(trained.rng, place))
            _label(axes, row, column, grid.log_evidence)
    for axes, label in zip(panels[:, 0], ("true", *rows), strict=True):
        axes.set_ylabel(label)
    figures.save(figure, path)


def _label(axes: Any, row: Row, column: int, log_evidence: float) -> None:
    divergence = f"{log_evidence - row.bounds[column]:.2f}"
    text = f"KL {divergence}" if row.is_exact else f"KL ≤ {divergence}"
    text += " nats" if row.has_settled[column] else " nats, not settled"
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", bbox=box)


def _rows(trained: TrainedModel, measured: MeasuredSplit, places: list[int]) -> dict[str, Row]:
    """Returns the approximate posteriors of the images at these places, by label."""
    rows: dict[str, Row] = {}
    images, bounds = measured.images[places], measured.bounds
    settled = np.full(len(places), True)
    if bounds.lower is not None:
        amortized = trained.map_images(lambda p, x, _: trained.encode(p, x), images)
        is_exact = POSTERIORS[bounds.own_family].exact_density
        rows["amortized"] = Row(amortized, bounds.lower[places], is_exact, settled)
    full, _ = linearized_posteriors(trained, images)
    linearized = bounds.linearized["full_covariance"][places]
    rows["linearised decoder"] = Row(full, linearized, True, settled)
    for family, found in measured.local.items():
        of_places = jax.tree.map(lambda leaf: leaf[places], found.posterior)
        optimum, is_exact = bounds.optimal[family][places], POSTERIORS[family].exact_density
        label = f"optimal {family.replace('_', ' ')}"
        rows[label] = Row(of_places, optimum, is_exact, found.converged[places])
    return rows


def _take(posteriors: Any, place: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), posteriors)


def _density_of(posterior: Any) -> Callable[[Array, Array], Array] | None:
    if hasattr(posterior, "log_prob"):
        return lambda _, z: posterior.log_prob(z)
    if not hasattr(posterior, "joint_log_prob"):
        return None

    def marginal(rng: Array, z: Array) -> Array:
        reverse = posterior.reverse(z)

        def log_weight(key: Array) -> Array:
            v, log_r = reverse.sample_and_log_prob(key)
            return posterior.joint_log_prob(z, v) - log_r

        log_weights = jax.vmap(log_weight)(jax.random.split(rng, _NUM_AUXILIARY))
        return jax.nn.logsumexp(log_weights) - jnp.log(float(_NUM_AUXILIARY))

    return marginal


def _lattice(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    first, second = (np.linspace(a, b, SIDE) for a, b in zip(low, high, strict=True))
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)


@once_per_checkpoint
def _log_joint_of_row(trained: TrainedModel) -> Callable[[Any, Array, Array], Array]:
    """Compiles log p(x, z) as a function of (params, x, z [n, 2])."""
    prior_stddev = jnp.asarray(trained.prior(), jnp.float32)

    def one(params: Any, x: Array, z: Array) -> Array:
        log_prior = objectives.gaussian_log_prob(z, jnp.zeros(2), jnp.square(prior_stddev))
        return trained.likelihood.log_prob(x, trained.decode(params, z)) + log_prior

    return jax.jit(jax.vmap(one, (None, None, 0)))


def _log_joint(trained: TrainedModel, image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Computes log p(x, z) at points [..., 2], one row at a time."""
    function = _log_joint_of_row(trained)
    x = trained.pixels(jnp.asarray(image))
    rows = [function(trained.params, x, jnp.asarray(row, jnp.float32)) for row in points]
    return np.asarray(jnp.stack(rows), np.float64)


def _fill(axes: Any, grid: Grid) -> None:
    """Draws the true posterior, as filled contours."""
    density = np.exp(grid.log_joint - grid.log_evidence)
    axes.contourf(*np.moveaxis(grid.points, -1, 0), density, levels=10, cmap="Greys")
    axes.tick_params(labelsize=9)
    axes.locator_params(nbins=4)


def outline(axes: Any, grid: Grid, posterior: Any, rng: Array) -> None:
    """Draws an approximate posterior, as lines at one, two and three standard deviations."""
    log_q = log_density(posterior, grid.points, rng)
    if log_q is None:
        z, _ = jax.vmap(posterior.sample_and_log_prob)(jax.random.split(rng, 2000))
        axes.plot(*np.asarray(z).T, ".", markersize=1, color=style.VERMILLION, alpha=0.4)
        return
    finite = np.where(np.isfinite(log_q), log_q, -np.inf)
    # Relative to its largest value here, as a posterior with its mass elsewhere would underflow.
    relative = np.exp(finite - finite.max()) if np.isfinite(finite.max()) else None
    if relative is None:
        axes.text(0.03, 0.03, "no mass here", transform=axes.transAxes, color=style.VERMILLION)
        return
    levels = np.exp(-0.5 * np.array([3.0, 2.0, 1.0]) ** 2)
    places = np.moveaxis(grid.points, -1, 0)
    axes.contour(*places, relative, levels=levels, colors=style.VERMILLION, linewidths=1)
