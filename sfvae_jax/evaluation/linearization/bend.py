"""Where a trained decoder is straight, compared with the width of its posteriors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.evaluation import figures, style
from sfvae_jax.evaluation.measured import Doubtful, Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure, with_errors
from sfvae_jax.evaluation.standard_errors import means_with_errors, relative
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    finite,
    once_per_checkpoint,
    require_bound,
    require_gaussian,
)
from sfvae_jax.objectives.spec import LikelihoodTraits, ObjectiveInfo, PosteriorTraits
from sfvae_jax.options import COUNT, COUNT_OR_0, POSITIVE, Option
from sfvae_jax.runtime.files import write_text

OPTIONS = {
    "num_images": Option(100, COUNT_OR_0, "Number of images to measure, from the first; 0 = all"),
    "num_samples": Option(10, COUNT, "Number of samples of the posterior of each image"),
    "share": Option(
        0.1,
        POSITIVE,
        "Share of its tangent's squared length from which on the squared length of the decoder's"
        " bend ends the straight part",
    ),
    "reach": Option(
        8.0,
        POSITIVE,
        "How far along each axis the bend is looked for, in standard deviations of the posterior",
    ),
}
USED = 0.01  # nats of tangent from which on a latent of an image counts
_AT_ONCE = 20  # images; each takes memory for several Jacobians


class ImageBends(NamedTuple):
    """What was measured at each of N images; NumPy arrays, in float64.

    Attributes:
        bend: 1/2 E_q b'Fb, [N], in nats.
        moved: 1/2 E_q t'Ft of the tangent t = J v, by the same samples, [N], in nats.
        excess: the linearised ELBO less the ELBO, [N], in nats.
        width: standard deviations of the posterior, [N, m].
        axis_tangent: 1/2 s_i^2 |J e_i|^2, [N, m], in nats.
        axis_bend: half the bend's squared length at s_i along each axis, [N, m], in nats.
        radius: the straight radius along each axis, [N, m], in the units of the latent.
    """

    bend: np.ndarray
    moved: np.ndarray
    excess: np.ndarray
    width: np.ndarray
    axis_tangent: np.ndarray
    axis_bend: np.ndarray
    radius: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """Whether a latent of an image moves the decoder's output enough to count, [N, m]."""
        return self.axis_tangent >= USED


def evaluate_bend(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measures of `bend` on the first `num_images` images.

    With z = mu + v ~ q, the tangent t = J v and the bend b = f(z) - f(mu) - t of the likelihood's
    parameters, and F the likelihood's information at mu (1/c for a Gaussian):

        bend               1/2 E_q b'Fb, in nats: what `objective.bend_weight` weights
        bend_share         the sum of E_q b'Fb over the images over that of E_q t'Ft
        linearized_excess  the linearised ELBO less the ELBO, in nats
        axis_bend_share    the same share along the axes alone, at one posterior deviation
        straight_radius    the step along an axis at which |b|^2 exceeds `share` of |t|^2, in
                           posterior deviations, at most `reach`; the mean over used latents
        bent_latents       the share of used latents whose straight radius is below 1 deviation

    The first three take `num_samples` samples of each image; the noise of the third is that of the
    bend alone, because both ELBOs have the same samples. A latent of an image is used if its
    tangent has 0.01 nats or more, 1/2 s_i^2 |J e_i|^2_F; where the encoder leaves a latent at the
    prior, a radius would say nothing.

    Raises:
        NotApplicable: if the model has no bound, or a posterior that is not a Gaussian.
        RunError: if a quantity is not finite.
    """
    found = image_bends(trained, options)
    ratios = found.radius / found.width
    number = np.sum(found.used, axis=1, dtype=np.float64)
    none = "no latent moves the decoder's output"

    def over_used(name: str, values: np.ndarray) -> Measured:
        return relative(name, np.sum(values * found.used, axis=1), number, none)

    return {
        **means_with_errors({"bend": found.bend}),
        **relative("bend_share", found.bend, found.moved, none),
        **means_with_errors({"linearized_excess": found.excess}),
        **relative(
            "axis_bend_share", found.axis_bend.sum(axis=1), found.axis_tangent.sum(axis=1), none
        ),
        **_doubted(over_used("straight_radius", ratios), ratios[found.used] > 0.99 * options.reach),
        **over_used("bent_latents", ratios < 1.0),
    }


def _doubted(radius: Measured, ends: np.ndarray) -> Measured:
    """Returns the mean straight radius with a caveat if the search ended at most radii.

    Args:
        radius: the measure and its standard error.
        ends: whether each radius of a used latent is `reach`, where the search ends.
    """
    share = np.mean(ends) if ends.size else 0.0
    if share <= 0.5:
        return radius
    many = "all" if share == 1.0 else f"{share:.0%} of the"
    caveat = f"{many} radii reach evaluations.bend.reach, where the search ends; raise it"
    value = radius["straight_radius"]
    assert isinstance(value, float)
    return {**radius, "straight_radius": Doubtful(value, caveat)}


@once_per_checkpoint
def image_bends(trained: TrainedModel, options: ml_collections.ConfigDict) -> ImageBends:
    """Returns the bends at the first `num_images` images.

    Raises:
        NotApplicable: if the model has no bound, or a posterior that is not a Gaussian.
        RunError: if a quantity is not finite.
    """
    require_bound(trained)
    likelihood, num_samples = trained.likelihood, options.num_samples
    share, reach = options.share, options.reach
    if not hasattr(likelihood, "information"):
        raise NotApplicable(f"a {type(likelihood).__name__} likelihood has no information")

    def of_image(params: Any, x: Array, key: Array) -> ImageBends:
        posterior = trained.encode(params, x)
        require_gaussian(posterior)
        mean, deviation = posterior.mean, posterior.deviation
        factor = jax.vmap(deviation)(jnp.eye(mean.size))  # its columns are those of L'
        width = jnp.linalg.norm(factor, axis=0)

        def decode(z: Array) -> Any:
            return trained.decode(params, z)

        def log_prob(parameters: Any) -> Array:
            return likelihood.log_prob(x, parameters)

        def of_sample(key: Array) -> tuple[Array, Array, Array]:
            step = deviation(jax.random.normal(key, mean.shape))
            parameters, tangent, bend = objectives.decoder_bend(decode, mean, step)
            value, slope = jax.jvp(log_prob, (parameters,), (tangent,))
            moved = 0.5 * likelihood.information(x, parameters, tangent)
            there = log_prob(decode(mean + step))
            bent = 0.5 * likelihood.information(x, parameters, bend)
            return bent, moved, value + slope - moved - there

        axes = objectives.axis_bend(
            decode,
            mean,
            width,
            information=lambda parameters, step: likelihood.information(x, parameters, step),
            share=share,
            reach=reach,
        )
        samples = jax.lax.map(of_sample, jax.random.split(key, num_samples))
        return ImageBends(
            *(jnp.mean(values) for values in samples), width, axes.tangent, axes.bend, axes.radius
        )

    found = trained.map_images(
        of_image,
        trained.images[: options.num_images or None],
        batch_size=min(trained.config.batch_size, _AT_ONCE),
        key=("bend", num_samples, share, reach),
    )
    return jax.tree.map(lambda leaf: finite(leaf.astype(np.float64)), found)


def _why_not(
    objective: ObjectiveInfo, posterior: PosteriorTraits, likelihood: LikelihoodTraits
) -> str:
    if not objective.density:
        return "the objective does not train a density p(x|z)"
    if not posterior.gaussian:
        return "the posterior is no Gaussian"
    return "" if likelihood.has_information else "the likelihood has no information"


# ---- by latent dimension ----


def by_latent(found: ImageBends) -> dict[str, np.ndarray]:
    """Returns measures of each latent dimension over the images, [m].

        width, radius   medians over the images that use it, in the units of the latent
        tangent, bend   means over all images, in nats
        bent            share of the images that use it whose straight radius is below the width
        used            share of the images that use it

    Width, radius and bent are nan for a latent that no image uses.
    """
    hidden = ~found.used

    def median(values: np.ndarray) -> np.ndarray:
        return np.ma.median(np.ma.array(values, mask=hidden), axis=0).filled(np.nan)

    bent = np.ma.array(found.radius < found.width, mask=hidden).mean(axis=0)
    return {
        "width": median(found.width),
        "radius": median(found.radius),
        "tangent": found.axis_tangent.mean(axis=0),
        "bend": found.axis_bend.mean(axis=0),
        "bent": np.ma.filled(bent.astype(np.float64), np.nan),
        "used": found.used.mean(axis=0),
    }


def table(latents: Mapping[str, np.ndarray]) -> str:
    """Returns the measures of each latent dimension as Markdown, from the one that moves most."""
    lines = [
        "| latent | used by | posterior width | straight radius | radius / width | bent"
        " | tangent, nats | bend, nats | bend / tangent |",
        "| --- " * 9 + "|",
    ]
    for i in np.argsort(-latents["tangent"], kind="stable"):
        of = {name: values[i] for name, values in latents.items()}
        radius, share = of["radius"] / of["width"], of["bend"] / max(of["tangent"], 1e-30)
        cells = (
            f"{of['used']:.0%}",
            *(f"{number:.3g}" for number in (of["width"], of["radius"], radius)),
            f"{of['bent']:.0%}",
            *(f"{number:.3g}" for number in (of["tangent"], of["bend"], share)),
        )
        shown = ["—" if cell.startswith("nan") else cell for cell in cells]
        if not of["used"]:
            shown[-1] = "—"
        lines.append(f"| {i + 1} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def draw_bend(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws bend.png, straight radius against posterior width by latent, and writes bend.md."""
    if results["metrics"].get("bend") is None:
        return
    found = image_bends(trained, options)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "bend.md", table(by_latent(found)))
    if found.used.any():
        figures.save(draw_latents(found, options.share, title), folder / "bend.png")


def draw_latents(found: ImageBends, share: float, title: str) -> Any:
    """Returns the figure of bend.png: latents from the one that moves the output most.

    On the left are the straight radius and the width, as medians and quartiles over the images
    that use a latent. On the right are tangent and bend at one posterior deviation, over all.
    """
    order = np.argsort(-found.axis_tangent.mean(axis=0), kind="stable")
    order = order[found.used.any(axis=0)[order]]
    ranks = np.arange(1, len(order) + 1)
    figure = figures.new_figure(10, 4.2)
    figure.suptitle(f"{title}: {len(order)} of {found.width.shape[1]} latents in use")
    left, right = figure.subplots(1, 2)
    for values, label, color, aside in (
        (found.radius, f"straight radius: bend {share:g} of the tangent", style.GREEN, -0.12),
        (found.width, "width of the posterior", style.ORANGE, 0.12),
    ):
        columns = [values[found.used[:, i], i] for i in order]
        low, middle, high = np.array([np.quantile(one, (0.25, 0.5, 0.75)) for one in columns]).T
        # A radius of 0 has no logarithm.
        low, middle, high = (np.maximum(part, 1e-6) for part in (low, middle, high))
        spread = (middle - low, high - middle)
        point = {"fmt": "o", "color": color, "label": label, "markersize": 4}
        left.errorbar(ranks + aside, middle, spread, **point)
    for values, label, color in (
        (found.axis_tangent, "tangent", style.SKY),
        (found.axis_bend, "bend", style.PURPLE),
    ):
        means = np.maximum(values.mean(axis=0)[order], 1e-12)
        right.plot(ranks, means, "o", color=color, label=label, markersize=4)
    left.set(ylabel="length, in units of the latent")
    right.set(ylabel="nats at one posterior deviation")
    for axes in (left, right):
        axes.set(xlabel="latent dimension, sorted", xlim=(0.5, len(order) + 0.5), yscale="log")
        axes.locator_params(axis="x", integer=True)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return figure


EVALUATION = Evaluation(
    evaluate_bend,
    with_errors(
        Measure("bend", unit="nats", digits=2, better="less"),
        Measure("bend_share", is_percentage=True, better="less"),
        Measure("linearized_excess", unit="nats", digits=2),
        Measure("axis_bend_share", is_percentage=True, better="less"),
        Measure("straight_radius", digits=2, better="more"),
        Measure("bent_latents", is_percentage=True, better="less"),
    ),
    OPTIONS,
    summary="how far the decoder bends within the posterior, what the linearised ELBO exceeds the"
    " ELBO by, and the straight radius around each code compared with the posterior's width",
    why_not=_why_not,
    draw=draw_bend,
)
