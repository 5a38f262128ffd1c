"""Rules that join the options of an objective with the family of posteriors."""

from __future__ import annotations

import ml_collections

from sfvae_jax import objectives, posteriors
from sfvae_jax.errors import UsageError


def check_with_posterior(
    objective: ml_collections.ConfigDict, posterior: str, latent_size: int
) -> None:
    """Checks that the posterior has what the options of the group `objective` need of it.

    Args:
        objective: the group.
        posterior: the name of the family.
        latent_size: number of latents.

    Raises:
        UsageError: if a rule is broken; the error names the keys and what to set.
    """
    _check_pairs(objective, posterior)
    _check_free_bits(objective, posterior, latent_size)


def _check_pairs(objective: ml_collections.ConfigDict, posterior: str) -> None:
    """Checks that antithetic pairs come from a Gaussian."""
    if objective.antithetic and not posteriors.POSTERIORS[posterior].gaussian:
        fitting = [name for name, spec in posteriors.POSTERIORS.items() if spec.gaussian]
        raise UsageError(
            f"objective.antithetic requires a Gaussian posterior, not {posterior!r}; choose"
            f" posterior.name={' or '.join(fitting)}, or objective.antithetic=false"
        )


def _check_free_bits(
    objective: ml_collections.ConfigDict, posterior: str, latent_size: int
) -> None:
    """Checks that free bits have a closed form of the KL divergence, and groups that fit it."""
    if not objective.free_bits and not objective.free_bits_groups:
        return
    info, family = objectives.OBJECTIVES[objective.name], posteriors.POSTERIORS[posterior]
    if not (info.parts and info.closed_form_kl and family.closed_form_kl):
        closed = [name for name, spec in posteriors.POSTERIORS.items() if spec.closed_form_kl]
        fitting = [
            name
            for name, spec in objectives.OBJECTIVES.items()
            if spec.parts and spec.closed_form_kl
        ]
        annealing = " with objective.beta_schedule=linear" if info.parts else ""
        raise UsageError(
            f"objective.free_bits requires a KL divergence in closed form; objective"
            f" {objective.name!r} with posterior {posterior!r} has none; choose"
            f" objective.name={' or '.join(fitting)} with posterior.name={' or '.join(closed)}, or"
            f" objective.free_bits=0{annealing}"
        )
    groups = tuple(objective.free_bits_groups)
    if groups and sum(groups) != latent_size:
        raise UsageError(
            f"objective.free_bits_groups {groups} must be positive sizes with sum"
            f" model.latent_size = {latent_size}"
        )
    if len(groups) > 1 and not family.kl_per_dimension:
        raise UsageError(
            f"objective.free_bits_groups {groups}: the dimensions of posterior {posterior!r}"
            f" are correlated, so that they are one group; expected () or ({latent_size},)"
        )
