"""The images that a model's quality is judged by, as RAE Appendix D has them.

    reconstructions   of validation images, at the posterior's center
    prior             E[x|z] for z from the prior that the model was trained with
    optimal_prior     ... from the prior that is best for its posteriors (BACK Eq. 4)
    gaussian          ... from a Gaussian fitted to the training codes
    gmm               ... from a mixture of Gaussians fitted to them
    second_stage      ... from a second VAE trained on them
    interpolations    E[x|z] for z halfway on the great circle between random pairs of validation
                      images' centers

What several evaluations of one model need is computed once and kept in `trained.shared`.
"""

from __future__ import annotations

import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.generation.densities import (
    Density,
    MixtureDensity,
    fit_gaussian,
    fit_mixture,
    optimal_prior,
    standard_prior,
)
from sfvae_jax.evaluation.generation.interpolation import slerp
from sfvae_jax.evaluation.generation.second_stage import fit_second_stage
from sfvae_jax.evaluation.trained_model import (
    NotApplicable,
    TrainedModel,
    centers,
    decode_means,
    finite,
    latent_size,
    once,
    part_images,
)
from sfvae_jax.posteriors import DiagonalGaussian, FullCovarianceGaussian

log = logging.getLogger("sfvae_jax")

DENSITIES = ("prior", "optimal_prior", "gaussian", "gmm", "second_stage")
SOURCES = ("reconstructions", *DENSITIES, "interpolations")


def generate(trained: TrainedModel, source: str, number: int) -> np.ndarray:
    """Images of one source, as they are stored: uint8, [number, ...].

    Of reconstructions there are at most as many as validation images.

    Raises:
        NotApplicable: if the model has no such images.
    """
    if source == "reconstructions":
        return _reconstructions(trained, number)
    if source == "interpolations":
        codes = centers(trained, part_images(trained, "valid"))
        codes = midpoints(_generator(trained, source), codes, number)
        return decode_images(trained, codes)
    return decode_images(trained, random_codes(trained, source, number))


def random_codes(trained: TrainedModel, source: str, number: int) -> np.ndarray:
    """Latents of one of `DENSITIES`, [number, m].

    Raises:
        NotApplicable: if the model has no such density.
    """
    return density(trained, source).sample(_generator(trained, source), number)


def to_stored(images: np.ndarray, scale: float) -> np.ndarray:
    """Pixels in [0, scale], clipped, as whole numbers in 0..255; what real images are kept as.

    Raises:
        RunError: if they are not finite.
    """
    if not np.isfinite(images).all():
        raise RunError("the decoded images are not finite at this checkpoint; the model diverged")
    return np.round(255.0 * np.clip(images / scale, 0.0, 1.0)).astype(np.uint8)


def decode_images(trained: TrainedModel, codes: np.ndarray) -> np.ndarray:
    """E[x|z] of latents [n, m] as stored images [n, ...]."""
    return to_stored(decode_means(trained, codes), trained.data_scale)


def midpoints(rng: np.random.Generator, codes: np.ndarray, number: int) -> np.ndarray:
    """Codes halfway between random pairs of different ones of [N, m]: [number, m].

    Raises:
        NotApplicable: if there are not two.
    """
    if len(codes) < 2:
        raise NotApplicable("interpolations need two validation images or more")
    first = rng.integers(len(codes), size=number)
    second = (first + rng.integers(1, len(codes), size=number)) % len(codes)
    return slerp(codes[first], codes[second], 0.5)


def aggregated_codes(trained: TrainedModel, images: np.ndarray) -> np.ndarray:
    """Codes [N, m] of the aggregated posterior: one sample of each q(z|x), or its point."""

    def code(params: Any, x: Array, key: Array) -> Array:
        posterior = trained.encode(params, x)
        if hasattr(posterior, "sample_and_log_prob"):
            return posterior.sample_and_log_prob(key)[0]
        return posterior.center()

    return finite(trained.map_images(code, images, key="aggregated codes"))


def density(trained: TrainedModel, name: str) -> Density:
    """The density of that name; what is fitted is fitted to the training codes, once.

    Raises:
        NotApplicable: if the model has none.
    """
    if name == "prior":
        return standard_prior(trained.prior(), latent_size(trained))
    return once(trained, ("density", name), lambda: _fit(trained, name))


def training_codes(trained: TrainedModel) -> np.ndarray:
    """`aggregated_codes` of the training images."""
    make = lambda: aggregated_codes(trained, part_images(trained, "train"))  # noqa: E731
    return once(trained, "training codes", make)


def mixture_log_densities(trained: TrainedModel) -> tuple[float, float]:
    """Mean log density of held-out and of training codes under the mixture, in nats per code.

    RAE Appendix C compares the two to see whether the mixture overfits. The held-out codes are
    those of the validation images.
    """
    mixture: MixtureDensity = density(trained, "gmm")
    held_out = aggregated_codes(trained, part_images(trained, "valid"))
    of_codes = (held_out, training_codes(trained))
    return tuple(float(np.mean(mixture.log_density(codes))) for codes in of_codes)


def _fit(trained: TrainedModel, name: str) -> Density:
    options = trained.config.generated
    if name == "optimal_prior":
        return optimal_prior(*_means_and_variances(trained, part_images(trained, "train")))
    codes = training_codes(trained)
    least = {"gaussian": 2, "gmm": max(options.gmm_components, 2), "second_stage": 1}[name]
    if len(codes) < least:
        raise NotApplicable(f"{name} needs {least} training images or more, got {len(codes)}")
    log.info("fitting the density %s to %d codes of %d dimensions", name, *codes.shape)
    seed = int(_generator(trained, name).integers(2**31))
    if name == "gaussian":
        return fit_gaussian(codes)
    if name == "gmm":
        return fit_mixture(seed, codes, num_components=options.gmm_components)
    return fit_second_stage(
        seed,
        codes,
        hidden_sizes=options.second_stage_hidden_sizes,
        steps=options.second_stage_steps,
        batch_size=options.second_stage_batch_size,
        learning_rate=options.second_stage_learning_rate,
    )


def _reconstructions(trained: TrainedModel, number: int) -> np.ndarray:
    images = part_images(trained, "valid")[:number]

    def rebuild(params: Any, x: Array, key: Array) -> Array:
        del key
        return trained.reconstruct(params, trained.encode(params, x).center())

    return to_stored(trained.map_images(rebuild, images, key="rebuilt"), trained.data_scale)


def _means_and_variances(
    trained: TrainedModel, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    def moments(params: Any, x: Array, key: Array) -> tuple[Array, Array]:
        del key
        posterior = trained.encode(params, x)
        if isinstance(posterior, DiagonalGaussian):
            return posterior.mean, jnp.square(posterior.stddev)
        if isinstance(posterior, FullCovarianceGaussian):
            return posterior.mean, jnp.sum(jnp.square(jnp.tril(posterior.scale_tril)), axis=1)
        raise NotApplicable(f"a {type(posterior).__name__} posterior has no variance at hand")

    means, variances = trained.map_images(moments, images, key="moments")
    return finite(means), finite(variances)


def _generator(trained: TrainedModel, name: str) -> np.random.Generator:
    """Noise of one source, the same whatever other sources there are."""
    key = np.asarray(jax.random.key_data(trained.rng)).ravel()
    return np.random.default_rng([*map(int, key), SOURCES.index(name)])
