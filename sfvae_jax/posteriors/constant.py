"""The diagonal Gaussian posterior with one fixed variance   (BACK Section 4.3; RAE Eq. 10)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from sfvae_jax.posteriors.diagonal import DiagonalGaussian
from sfvae_jax.posteriors.spec import Declare, PosteriorSpec, Settings


def _build(settings: Settings, raw: Array, declare: Declare) -> DiagonalGaussian:
    del declare
    mean = raw[: settings.latent_size]
    return DiagonalGaussian(mean, jnp.full_like(mean, settings.variance**0.5))


CONSTANT = PosteriorSpec(
    name="constant",
    summary="a Gaussian with the fixed variance posterior.variance in every dimension",
    num_outputs=lambda settings: settings.latent_size,
    build=_build,
    closed_form_kl=True,
    kl_per_dimension=True,
    gaussian=True,
    fixed_variance=True,
    loss_scales=("variance",),
    options=("variance",),
)
