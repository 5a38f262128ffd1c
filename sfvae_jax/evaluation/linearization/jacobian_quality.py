"""How good the linearised decoder is, as a number of samples that do as well (SFVAE Table 1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from jax import Array

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import figures, style
from sfvae_jax.evaluation.linearization.output_covariance import (
    CovarianceStatistics,
    covariance_errors,
    covariance_statistics,
)
from sfvae_jax.evaluation.linearization.taylor import draw_taylor
from sfvae_jax.evaluation.measured import Measured, NotApplicable, Value
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.standard_errors import standard_error
from sfvae_jax.evaluation.trained_model import TrainedModel, require_gaussian
from sfvae_jax.options import COUNT_OR_0, Option, Rule, is_tuple_of, is_whole, whole

LINEARIZED = "linearized"


def _are_rising(counts: Any) -> bool:
    return (
        is_tuple_of(counts, lambda count: is_whole(count, 2))
        and len(counts) > 0
        and all(a < b for a, b in itertools.pairwise(counts))
    )


OPTIONS = {
    "sample_counts": Option(
        (5, 10, 25, 50, 70, 100, 235),
        Rule(_are_rising, "rising numbers of 2 or more, such as (5, 25)"),
        "Numbers of samples that the linearisation is compared with",
    ),
    "num_truth": Option(
        15_000, whole(8), "Number of samples from which the true covariance is estimated"
    ),
    "num_images": Option(20, COUNT_OR_0, "Number of images to measure, from the first; 0 = all"),
    "chunk_size": Option(
        500, whole(2), "Number of samples that are decoded at once; more take more memory"
    ),
}


def check(options: ml_collections.ConfigDict) -> None:
    """Checks that the truth has more samples than what is compared with it.

    Raises:
        UsageError: beginning with the option's name.
    """
    least = options.sample_counts[-1] + 1
    if options.num_truth < least:
        raise UsageError(
            f"num_truth must be at least {least}, above the largest of sample_counts; got"
            f" {options.num_truth}"
        )


def metric_names(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """Returns the names of the measures under these options."""
    del evaluations
    methods = (LINEARIZED, *options.sample_counts)
    kinds = ("variance_correlation", "covariance_error_squared", "covariance_error")
    return (
        *(f"{kind}_{method}" for kind in kinds for method in methods),
        "variance_ratio",
        "equivalent_samples_correlation",
        "equivalent_samples_covariance",
        "variance_correlation_linearized_standard_error",
        "covariance_error_squared_linearized_standard_error",
        "covariance_error_squared_linearized_monte_carlo_error",
    )


def evaluate_jacobian_quality(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Measured:
    """Takes the measures of `jacobian_quality`, means over the first `num_images` images.

    Sigma is the covariance of the decoder's output E[x|z] over z ~ q(z|x), from `num_truth`
    samples. K is `linearized` (U U', U = J diag(stddev) or J L) or a number of samples.

    variance_correlation_K      the Pearson correlation with the true variances, over the pixels
    covariance_error_squared_K  |E - Sigma|_F^2, unbiased, so that it may be negative near zero. The
                                paper's figures fall as 1/k: they are squared norms, though it calls
                                them Frobenius norms
    covariance_error_K          the root of that mean, 0 if it is negative
    variance_ratio              the summed variances, linearised over true; pixels that hardly vary
                                count little
    equivalent_samples_...      the number of samples that do as well as the linearisation, by
                                `equivalent_samples`. Beyond the counts it is extrapolated, which is
                                rough for the correlation

    `..._standard_error` is over the images; `..._monte_carlo_error` is what the noise of the truth
    contributes to it. Images are decoded one after the other, in chunks of `chunk_size`.
    """
    counts = tuple(options.sample_counts)

    def statistics(params: Any, x: Array, key: Array) -> CovarianceStatistics:
        posterior = trained.encode(params, x)
        require_gaussian(posterior)
        return covariance_statistics(
            key,
            lambda z: trained.reconstruct(params, z),
            posterior,
            sample_counts=counts,
            num_truth=options.num_truth,
            chunk_size=options.chunk_size,
        )

    images = trained.images[: options.num_images or None]
    key = ("jacobian quality", counts, options.num_truth, options.chunk_size)
    return _summarize(trained.map_images(statistics, images, batch_size=1, key=key), counts)


def _summarize(statistics: CovarianceStatistics, counts: tuple[int, ...]) -> Measured:
    """Returns the measures, from the stacked statistics of all images."""
    correlations = np.asarray(statistics.correlation, np.float64)  # [N, E]
    errors, noise = covariance_errors(statistics)
    if np.isnan(correlations).any():
        raise NotApplicable(
            "the decoder's output does not vary at an image, or all pixels vary alike"
        )
    correlation, error = correlations.mean(axis=0), errors.mean(axis=0)
    methods = (LINEARIZED, *counts)

    def by_method(kind: str, values: np.ndarray) -> dict[str, float]:
        return {f"{kind}_{method}": float(v) for method, v in zip(methods, values, strict=True)}

    noise_of_mean = float(np.linalg.norm(noise[:, 0]) / len(noise))
    return {
        **by_method("variance_correlation", correlation),
        **by_method("covariance_error_squared", error),
        **by_method("covariance_error", np.sqrt(np.maximum(error, 0.0))),
        "variance_ratio": float(np.mean(statistics.variance_ratio, dtype=np.float64)),
        "equivalent_samples_correlation": _or_reason(counts, noise_to_signal(correlation)),
        "equivalent_samples_covariance": _or_reason(counts, error),
        "variance_correlation_linearized_standard_error": standard_error(correlations[:, 0]),
        "covariance_error_squared_linearized_standard_error": standard_error(errors[:, 0]),
        "covariance_error_squared_linearized_monte_carlo_error": noise_of_mean,
    }


def noise_to_signal(correlation: np.ndarray) -> np.ndarray:
    """Returns 1/r^2 - 1 of correlations r with the truth, infinite where r is not positive.

    Variances of k Gaussian samples are the true ones times 1 + e, with e of variance 2 / (k - 1).
    If there are many pixels with independent e, this is noise over signal and falls as 1 / (k - 1).
    (So it does in SFVAE Table 1: times k - 1 it is 4.5 to 4.9 for all k up to 100.) A decoder with
    few effective latents moves many pixels alike, and then it falls more slowly: from k = 5 to 100,
    k - 1 times it grows by about half for simulated linear decoders with 2 latents, and by a
    twentieth for those with 16.
    """
    positive = np.where(correlation > 0.0, correlation, np.nan)
    return np.where(correlation > 0.0, np.square(1.0 / positive) - 1.0, np.inf)


def equivalent_samples(
    sample_counts: Sequence[int], errors: Sequence[float], error: float
) -> float:
    """Returns the number of samples whose error is `error`, if errors fall about as 1 / (k - 1).

    For Gaussian samples E|S_k - Sigma|_F^2 = (tr(Sigma)^2 + tr(Sigma^2)) / (k - 1): log error
    against log(k - 1) is a straight line. Between the two counts where the errors first fall to
    `error`, the number is on the line through both. Below the smallest and above the largest count
    it follows the 1 / (k - 1) law through that count, which is rough for errors that obey the law
    only approximately, such as `noise_to_signal` of correlations.

    Args:
        sample_counts: rising numbers, each at least 2.
        errors: the error of each count, positive.
        error: positive.

    Returns:
        A number of samples, above 1; extrapolated if it lies outside the counts.

    Raises:
        ValueError: if an error is not positive and finite.
    """
    if not all(0.0 < value < math.inf for value in (error, *errors)):
        raise ValueError(f"errors must be positive and finite, got {error} and {tuple(errors)}")
    degrees = [count - 1.0 for count in sample_counts]
    if error > errors[0]:
        return 1.0 + degrees[0] * errors[0] / error
    for (low, high), (above, below) in zip(
        itertools.pairwise(degrees), itertools.pairwise(errors), strict=True
    ):
        if above >= error >= below:
            share = math.log(above / error) / math.log(above / below) if above > below else 0.0
            return 1.0 + low * (high / low) ** share
    return 1.0 + degrees[-1] * errors[-1] / error


def _or_reason(counts: tuple[int, ...], errors: np.ndarray) -> Value:
    """Returns `equivalent_samples` of the linearisation's error, the first; or why it has none."""
    try:
        return float(equivalent_samples(counts, [float(e) for e in errors[1:]], float(errors[0])))
    except ValueError:
        return NotApplicable("an error is too small or too large to be distinguished from noise")


def draw_jacobian_quality(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws jacobian_quality.png and taylor.png.

    The first shows the quality against the number of samples, and where the linearisation is on
    that line. The second shows what is linearised (SFVAE Figure A.1).
    """
    metrics = results["metrics"]
    if metrics.get("variance_ratio") is None:
        return
    figure = draw_quality(metrics, tuple(options.sample_counts), title)
    figures.save(figure, folder / "jacobian_quality.png")
    draw_taylor(trained, f"{title}: the decoder along one latent", folder / "taylor.png")


def draw_quality(metrics: Mapping[str, Any], counts: Sequence[int], title: str) -> Any:
    """Returns the figure of jacobian_quality.png, which needs nothing but the measures."""
    figure = figures.new_figure(10, 4.2)
    figure.suptitle(f"{title}: how good the linearised decoder is")
    panels = figure.subplots(1, 2)
    _draw_panel(
        panels[0], metrics, "variance_correlation", "equivalent_samples_correlation", counts
    )
    panels[0].set(ylabel="correlation with the true variances,\nhigher is better")
    _draw_panel(
        panels[1], metrics, "covariance_error_squared", "equivalent_samples_covariance", counts
    )
    panels[1].set(
        ylabel="squared error of the covariance\n(Frobenius), lower is better", yscale="log"
    )
    return figure


def _draw_panel(
    axes: Any, metrics: Mapping[str, Any], kind: str, equivalent: str, counts: Sequence[int]
) -> None:
    linearized = metrics[f"{kind}_{LINEARIZED}"]
    sampled = [metrics[f"{kind}_{count}"] for count in counts]
    sampling, free = style.METHODS["sampling"], style.METHODS["sampling_free"]
    axes.plot(counts, sampled, **sampling._asdict(), label="sampling")
    axes.axhline(linearized, color=free.color, label="linearisation, one point")
    crossing = metrics[equivalent]
    if crossing is not None:
        outside = "" if counts[0] <= crossing <= counts[-1] else " (extrapolated)"
        label = f"equal at {crossing:.3g} samples{outside}"
        axes.plot([crossing], [linearized], "D", color=style.BLACK, label=label)
        axes.axvline(crossing, color=style.BLACK, linestyle=":", linewidth=1)
    axes.set(xlabel="number of samples", xscale="log")
    axes.set_xticks(counts, [str(count) for count in counts], minor=False)
    axes.minorticks_off()
    axes.legend()


_OF_LINEARIZED = Measure("covariance_error_squared_linearized")
EVALUATION = Evaluation(
    evaluate_jacobian_quality,
    (
        Measure("variance_correlation_K", digits=3, better="more"),
        Measure("covariance_error_squared_K", better="less"),
        Measure("covariance_error_K", better="less"),
        Measure("variance_ratio", digits=3),
        Measure("equivalent_samples_correlation", better="more"),
        Measure("equivalent_samples_covariance", better="more"),
        Measure("variance_correlation_linearized", digits=3).error(),
        _OF_LINEARIZED.error(),
        _OF_LINEARIZED.error("monte_carlo_error", digits=1),
    ),
    OPTIONS,
    summary="how close the output covariance of the linearised decoder is to the true one, compared"
    " with estimates from K samples",
    source="SFVAE Table 1, Figure A.1",
    names=metric_names,
    check=check,
    draw=draw_jacobian_quality,
)
