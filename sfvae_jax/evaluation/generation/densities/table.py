"""The table of all densities of codes, by the names that a config accepts."""

from __future__ import annotations

from sfvae_jax.evaluation.generation.densities.gaussian import GAUSSIAN, OPTIMAL_PRIOR, PRIOR
from sfvae_jax.evaluation.generation.densities.mixture import MIXTURE
from sfvae_jax.evaluation.generation.densities.second_stage import SECOND_STAGE
from sfvae_jax.evaluation.generation.densities.spec import DensitySpec

DENSITIES: dict[str, DensitySpec] = {
    "prior": PRIOR,
    "optimal_prior": OPTIMAL_PRIOR,
    "gaussian": GAUSSIAN,
    "gmm": MIXTURE,
    "second_stage": SECOND_STAGE,
}
