"""The table of all objectives; to add one, write its file and name its spec here."""

from __future__ import annotations

from sfvae_jax.objectives.batch.batch_information import BILBO, BILBO_BAGGINS, CONSTANT_VARIANCE
from sfvae_jax.objectives.batch.linearized_bilbo import LINEARIZED_BILBO
from sfvae_jax.objectives.control_variate import CONTROL_VARIATE
from sfvae_jax.objectives.deterministic.autoencoders import (
    AUTOENCODER,
    CV_VAE,
    RAE,
    RAE_GP,
    RAE_L2,
    RAE_SN,
)
from sfvae_jax.objectives.deterministic.wae_mmd import WAE_MMD
from sfvae_jax.objectives.evidence import LOG_EVIDENCE
from sfvae_jax.objectives.linearized import LINEARIZED
from sfvae_jax.objectives.monte_carlo import IWAE, SAMPLING, STICKING_THE_LANDING
from sfvae_jax.objectives.sampling_free import SAMPLING_FREE
from sfvae_jax.objectives.spec import ObjectiveInfo

OBJECTIVES: dict[str, ObjectiveInfo] = {
    spec.name: spec
    for spec in (
        SAMPLING,
        STICKING_THE_LANDING,
        IWAE,
        CONTROL_VARIATE,
        SAMPLING_FREE,
        LINEARIZED,
        LOG_EVIDENCE,
        CONSTANT_VARIANCE,
        BILBO,
        BILBO_BAGGINS,
        LINEARIZED_BILBO,
        AUTOENCODER,
        RAE,
        RAE_L2,
        RAE_GP,
        RAE_SN,
        CV_VAE,
        WAE_MMD,
    )
}
