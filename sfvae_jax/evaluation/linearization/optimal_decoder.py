"""How far a trained decoder is from the optimal one for its encoder's posteriors (BACK 4.1).

BACK is Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import objectives
from sfvae_jax.data import to_unit_interval
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.linearization.output_covariance import squared_norm
from sfvae_jax.evaluation.measured import Doubtful, Measured, NotApplicable
from sfvae_jax.evaluation.spec import Evaluation, Measure, with_errors
from sfvae_jax.evaluation.standard_errors import means_with_errors, relative
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    centers,
    decode_means,
    finite,
    once_per_checkpoint,
    program,
    require_bound,
    require_diagonal,
    split_examples,
)
from sfvae_jax.likelihoods import Bernoulli, Gaussian, HeteroscedasticGaussian
from sfvae_jax.objectives.analysis.optimal_decoder import jacobian_part
from sfvae_jax.objectives.numerics.linear_algebra import matmul
from sfvae_jax.options import COUNT, COUNT_OR_0, Option

OPTIONS = {
    "num_images": Option(
        200,
        COUNT_OR_0,
        "Number of images at which the decoders are compared, from the first; 0 = all",
    ),
    "num_components": Option(
        10_000,
        COUNT_OR_0,
        "Number of training images, evenly spaced, whose posteriors make up the optimal decoder;"
        " 0 = all",
    ),
    "chunk_size": Option(
        1000, COUNT, "Number of training images that are in memory as floats at once"
    ),
}

_FEW = 2.0  # with fewer components than this, the optimum at a code is about one training image
_NO_SIZE = "its denominator is 0 for all images"
_CODES_AT_ONCE = 20  # the optimum's Jacobians are in memory for so many codes


class Mixture(NamedTuple):
    """Training images and their posteriors, which make the optimal decoder; NumPy arrays.

    Attributes:
        images: stored images, [N, ...].
        means: the means of their posteriors, [N, m].
        stddevs: the standard deviations of their posteriors, [N, m].
    """

    images: np.ndarray
    means: np.ndarray
    stddevs: np.ndarray


class Optimum(NamedTuple):
    """The optimal decoder at K codes; NumPy arrays.

    Attributes:
        images: f*(z), with pixels as the model sees them, [K, *example].
        jacobians: J*(z), [K, n, m]; None if they were not asked for.
        components: 1 / sum_i w_i^2, how many posteriors there are around each code, [K].
    """

    images: np.ndarray
    jacobians: np.ndarray | None
    components: np.ndarray


def evaluate_optimal_decoder(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measures of `optimal_decoder` at the codes mu of the first `num_images` images.

    With f(z) = E[x|z] of the trained decoder, J its Jacobian, and f*, J* those of the optimal
    decoder for q(z|x) of `num_components` training images (BACK Eqs. 6 and 7):

        optimal_decoder_distance           sum |f(mu) - f*(mu)|^2 / sum |f(mu) - x|^2
        optimal_decoder_error              mean |f*(mu) - x|^2, beside `reconstruction_error`
        optimal_decoder_jacobian_distance  sum |J(mu) - J*(mu)|^2 / sum (|J(mu)|^2 + |J*(mu)|^2),
                                           Frobenius norms: 0 if equal, 1 if unrelated
        optimal_decoder_components         mean of 1 / sum_i w_i(mu)^2

    Each standard error is over the images. The optimum for finitely many posteriors that do not
    overlap repeats their images, with J* = 0. So the distances carry a caveat if there are fewer
    than two components at a code in the mean.

    Raises:
        NotApplicable: if the model has no bound, its posterior is not a diagonal Gaussian, or the
            optimal mean of its likelihood has no closed form.
    """
    mixture = training_mixture(trained, options.num_components)
    images = trained.images[: options.num_images or None]
    codes = centers(trained, images)
    pieces = [
        _compare(trained, mixture, images[rows], codes[rows], options.chunk_size)
        for rows in _slices(len(images), _CODES_AT_ONCE)
    ]
    sums = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    components = float(np.mean(sums["components"]))
    measured = {
        **relative("optimal_decoder_distance", sums["distance"], sums["error"], _NO_SIZE),
        **means_with_errors({"optimal_decoder_error": sums["optimal_error"]}),
        **relative(
            "optimal_decoder_jacobian_distance",
            sums["jacobian_distance"],
            sums["jacobians"],
            _NO_SIZE,
        ),
        "optimal_decoder_components": components,
    }
    return _with_caveats(measured, components)


@once_per_checkpoint
def training_mixture(trained: TrainedModel, num_components: int) -> Mixture:
    """Returns training images with their posteriors.

    Args:
        trained: the model.
        num_components: how many, evenly spaced among all training images; 0 = all.

    Raises:
        NotApplicable: as `evaluate_optimal_decoder`.
    """
    require_bound(trained)
    if not isinstance(trained.likelihood, (Gaussian, HeteroscedasticGaussian, Bernoulli)):
        name = type(trained.likelihood).__name__
        raise NotApplicable(f"the optimal mean of a {name} likelihood has no closed form")

    def moments(params: Any, x: Array, key: Array) -> tuple[Array, Array]:
        del key
        posterior = trained.encode(params, x)
        require_diagonal(posterior)
        return posterior.mean, jnp.broadcast_to(posterior.stddev, posterior.mean.shape)

    images = split_examples(trained, "train")
    if 0 < num_components < len(images):
        images = images[np.linspace(0, len(images) - 1, num_components).astype(int)]
    means, stddevs = trained.map_images(moments, images, key="diagonal posteriors")
    return Mixture(images, finite(means), finite(stddevs))


def optimum(
    trained: TrainedModel,
    mixture: Mixture,
    codes: np.ndarray,
    chunk_size: int,
    *,
    with_jacobians: bool = False,
) -> Optimum:
    """Returns the optimal decoder of a mixture at codes [K, m], one chunk of its images at a time.

    It takes memory for K N shares, for K n m entries of Jacobians, and for one chunk of images as
    floats.
    """
    programs = program(trained, "optimal decoder", _programs)
    shares = programs.shares(codes, mixture.means, mixture.stddevs)
    chunks = [
        (shares[:, rows], *(array[rows] for array in mixture))
        for rows in _slices(len(mixture.means), chunk_size)
    ]
    images = sum(programs.image(own, _rows(trained, stored)) for own, stored, _, _ in chunks)
    jacobians = None
    if with_jacobians:
        jacobians = sum(
            programs.jacobian(codes, images, own, _rows(trained, stored), *posteriors)
            for own, stored, *posteriors in chunks
        )
    shape = (len(codes), *mixture.images.shape[1:])
    components = 1.0 / jnp.sum(jnp.square(shares), axis=1)
    return Optimum(*jax.device_get((images.reshape(shape), jacobians, components)))


class _Programs(NamedTuple):
    """Compiled functions of codes [K, m] and a chunk of C images with their posteriors.

    Attributes:
        shares: (codes, means, stddevs) -> shares [K, C].
        image: (shares, x [C, n]) -> what the chunk adds to f*, [K, n].
        jacobian: (codes, f*, shares, x, means, stddevs) -> what it adds to J*, [K, n, m].
    """

    shares: Any
    image: Any
    jacobian: Any


def _programs() -> _Programs:
    # One code after the other: together they would take K times the memory of one.
    def shares(codes: Array, means: Array, stddevs: Array) -> Array:
        return jax.lax.map(lambda z: objectives.posterior_shares(z, means, stddevs), codes)

    def jacobian(codes: Array, images: Array, shares: Array, *chunk: Array) -> Array:
        return jax.lax.map(lambda one: jacobian_part(*one, *chunk), (codes, images, shares))

    return _Programs(jax.jit(shares), jax.jit(matmul), jax.jit(jacobian))


def _rows(trained: TrainedModel, stored: np.ndarray) -> Array:
    """Returns stored images as the model sees them, [C, n]."""
    return trained.pixels(jnp.asarray(stored)).reshape(len(stored), -1)


def _slices(number: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, number, size))


def _compare(
    trained: TrainedModel,
    mixture: Mixture,
    images: np.ndarray,
    codes: np.ndarray,
    chunk_size: int,
) -> dict[str, np.ndarray]:
    """Returns squared distances and norms at the codes of some images, each [K]."""
    best = optimum(trained, mixture, codes, chunk_size, with_jacobians=True)

    def compare(params: Any, x: Array, key: Array, code: Array, best: Optimum) -> dict[str, Array]:
        del key
        x_hat, jacobian = objectives.decoder_jacobian(
            lambda z: trained.reconstruct(params, z), code
        )
        return {
            "distance": squared_norm(x_hat - best.images),
            "error": squared_norm(x_hat - x),
            "optimal_error": squared_norm(best.images - x),
            "jacobian_distance": squared_norm(jacobian - best.jacobians),
            "jacobians": squared_norm(jacobian) + squared_norm(best.jacobians),
            "components": best.components,
        }

    return trained.map_images(compare, images, codes, best, key="beside the optimal decoder")


def _with_caveats(measured: Measured, components: float) -> Measured:
    """Adds a caveat to the distances if the optimum does little but repeat training images."""
    if components >= _FEW:
        return measured
    caveat = (
        f"around a code there are only {components:.2f} posteriors of training images on average,"
        " so that the optimal decoder repeats single images"
    )
    names = ("optimal_decoder_distance", "optimal_decoder_jacobian_distance")
    doubtful = {
        name: Doubtful(measured[name], caveat)
        for name in names
        if not isinstance(measured[name], NotApplicable)
    }
    return {**measured, **doubtful}


def draw_optimal_decoder(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws optimal_decoder.png: images, and their codes decoded by both decoders."""
    del results
    mixture = training_mixture(trained, options.num_components)
    images = trained.images[: trained.config.num_pictured]
    codes = centers(trained, images)
    best = optimum(trained, mixture, codes, options.chunk_size)
    rows = {
        "image": np.asarray(to_unit_interval(images)),
        "trained": decode_means(trained, codes) / trained.data_scale,
        "optimal": best.images / trained.data_scale,
    }
    figures.draw_images(
        rows,
        f"{title}: codes decoded by the trained decoder and by the optimal one for the posteriors"
        f" of {len(mixture.means)} training images",
        folder / "optimal_decoder.png",
    )


EVALUATION = Evaluation(
    evaluate_optimal_decoder,
    (
        *with_errors(
            Measure("optimal_decoder_distance", better="less"),
            Measure("optimal_decoder_error", better="less"),
            Measure("optimal_decoder_jacobian_distance", better="less"),
        ),
        Measure("optimal_decoder_components"),
    ),
    OPTIONS,
    summary="how far the decoder and its Jacobian are from the optimal decoder for the encoder's"
    " posteriors",
    source="BACK Eqs. 6, 7",
    splits=("train",),
    draw=draw_optimal_decoder,
)
