"""The table of all families of posteriors; to add one, write its file and name its spec here."""

from __future__ import annotations

from sfvae_jax.posteriors.constant import CONSTANT
from sfvae_jax.posteriors.diagonal import DIAGONAL
from sfvae_jax.posteriors.flows.auxiliary import AUXILIARY_FLOW
from sfvae_jax.posteriors.flows.inverse_autoregressive import IAF
from sfvae_jax.posteriors.flows.planar import PLANAR
from sfvae_jax.posteriors.full_covariance import FULL_COVARIANCE
from sfvae_jax.posteriors.linearized import LINEARIZED
from sfvae_jax.posteriors.point import NONE
from sfvae_jax.posteriors.spec import PosteriorSpec

POSTERIORS: dict[str, PosteriorSpec] = {
    spec.name: spec
    for spec in (
        DIAGONAL,
        FULL_COVARIANCE,
        LINEARIZED,
        PLANAR,
        IAF,
        AUXILIARY_FLOW,
        CONSTANT,
        NONE,
    )
}
