"""The bias of the sampling-free objective: how far it is from the ELBO (SFVAE 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.evaluation import figures, style
from sfvae_jax.evaluation.history import measured_steps
from sfvae_jax.evaluation.measured import Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.standard_errors import standard_error
from sfvae_jax.evaluation.trained_model import TrainedModel, require_bound, require_gaussian
from sfvae_jax.likelihoods import Gaussian
from sfvae_jax.options import COUNT, Option

OPTIONS = {
    "num_samples": Option(
        10, COUNT, "Number of samples of the posterior of each image, for the unbiased ELBO"
    )
}


def evaluate_bias(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measures of `bias` (SFVAE Figures 1 and C.2), means over the images in nats.

    `sampling_free_elbo` is the objective of SFVAE Eqs. 14-21 with `gamma`, and with the log
    determinant weighted as in training (`objective.log_det_weight`). `sampling_elbo` is the
    unbiased estimate for the same model and images with `num_samples` samples. `elbo_gap`, the
    bias, is the first less the second. Each `..._standard_error` is over the images and includes
    the noise of the samples; that of the gap is over the differences image by image.

    `gamma` is the one of the last step taken if the objective is `sampling_free`. A model trained
    with another objective has none; for it, `gamma` is the config's `objective.gamma`, or what
    `objective.gamma_schedule` gives at the last step.
    """
    free, sampled = np.asarray(elbos(trained, options.num_samples), np.float64)
    values = {"sampling_free_elbo": free, "sampling_elbo": sampled, "elbo_gap": free - sampled}
    means = {name: float(np.mean(value)) for name, value in values.items()}
    errors = {f"{name}_standard_error": standard_error(value) for name, value in values.items()}
    return {**means, **errors, "gamma": trained.gamma}


def elbos(trained: TrainedModel, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sampling-free and the sampled ELBO of every image, each [N], in nats.

    Raises:
        NotApplicable: if posterior, likelihood or prior are not those of a Gaussian VAE.
    """
    require_bound(trained)
    if not isinstance(trained.likelihood, Gaussian):
        raise NotApplicable("the likelihood is not a Gaussian with fixed variance")
    prior_stddev = jnp.asarray(trained.prior(), jnp.float32)

    def both(params: Any, x: Array, key: Array, weights: Array) -> tuple[Array, Array]:
        gamma, log_det_weight = weights
        posterior = trained.encode(params, x)
        require_gaussian(posterior)

        def decode(z: Array) -> Array:
            return trained.decode(params, z)

        free = objectives.sampling_free_elbo(
            decode,
            x,
            posterior,
            observation_variance=trained.likelihood.variance,
            gamma=gamma,
            log_det_weight=log_det_weight,
            prior_stddev=prior_stddev,
        )
        sampled = objectives.sampling_elbo(
            key,
            decode,
            x,
            posterior,
            trained.likelihood,
            num_samples=num_samples,
            prior_stddev=prior_stddev,
        )
        return free.value, sampled.value

    # Arguments, for they change between the checkpoints of a run.
    weights = np.tile(np.float32([trained.gamma, trained.log_det_weight]), (len(trained.images), 1))
    return trained.map_images(both, None, weights, key=("both ELBOs", num_samples))


def draw_bias(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws bias.png: both ELBOs over training, and the regions of gamma (SFVAE Figures 1, C.2)."""
    del trained, options
    points = curve(results)
    if len(points) < 2:
        return
    steps = [step for step, _ in points]
    figure = figures.new_figure(8, 4.5)
    figure.suptitle(f"{title}: bias of the sampling-free ELBO")
    axes = figure.subplots()
    for name, label, look in (
        ("sampling_free_elbo", "sampling-free ELBO (biased)", style.METHODS["sampling_free"]),
        ("sampling_elbo", "sampling ELBO (unbiased)", style.METHODS["sampling"]),
    ):
        values = [metrics[name] for _, metrics in points]
        axes.plot(steps, values, **look._asdict(), markersize=4, label=label)
    _mark_regions(axes, gamma_regions(points))
    axes.set(xlabel="step", ylabel="nats per image, higher is better", xlim=(0, None))
    axes.legend()
    figures.save(figure, folder / "bias.png")


def curve(results: Mapping[str, Any]) -> list[tuple[int, Mapping[str, float]]]:
    """Returns (step, measures) of every step at which the bias was measured, in rising order."""
    return measured_steps(results, lambda m: m.get("sampling_free_elbo") is not None)


def gamma_regions(
    points: Sequence[tuple[int, Mapping[str, float]]],
) -> list[tuple[float, int, int]]:
    """Returns (gamma, first step, last step) of each stretch of training with the same gamma.

    A stretch reaches from the last point of the one before it, or from step 0, to its own last
    point. That is exact if the schedule's boundaries are among the points.
    """
    regions, first = [], 0
    for gamma, stretch in groupby(points, key=lambda point: round(point[1]["gamma"], 6)):
        last = max(step for step, _ in stretch)
        regions.append((gamma, first, last))
        first = last
    return regions


def _mark_regions(axes: Any, regions: Sequence[tuple[float, int, int]]) -> None:
    """Shades every second stretch and writes gamma above each, unless there are too many."""
    if len(regions) > 8:
        return
    for number, (gamma, first, last) in enumerate(regions):
        if number % 2:
            axes.axvspan(first, last, color="gray", alpha=0.15, linewidth=0)
        place = {"xy": ((first + last) / 2, 1.01), "xycoords": axes.get_xaxis_transform()}
        axes.annotate(f"gamma {gamma:g}", ha="center", va="bottom", fontsize=style.TICK, **place)


_ELBOS = (
    Measure("sampling_free_elbo", unit="nats", better="more"),
    Measure("sampling_elbo", unit="nats", better="more"),
    Measure("elbo_gap", unit="nats"),
)
EVALUATION = Evaluation(
    evaluate_bias,
    (*_ELBOS, *(measure.error() for measure in _ELBOS), Measure("gamma")),
    OPTIONS,
    summary="the sampling-free objective, with the weights of training, and the unbiased ELBO of"
    " the same model; gamma is that of the last step, for another objective `objective.gamma`",
    source="SFVAE Figures 1, C.2",
    draw=draw_bias,
)
