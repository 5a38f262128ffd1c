"""Training objectives as pure functions of one example: the heart of the library.

They know no network library, config, file or device count. `decode` is any callable from one
latent [m]; the caller maps over a batch with `jax.vmap`. Everything is in nats, constants kept.

    from sfvae_jax import objectives
    elbo = objectives.sampling_free_elbo(decode, x, mean, stddev, observation_variance=0.5)
    loss = -elbo.value
"""

from __future__ import annotations

import dataclasses

from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.gaussian import (
    gaussian_entropy,
    gaussian_expected_log_prior,
    gaussian_kl_per_dimension,
    gaussian_log_prob,
)
from sfvae_jax.objectives.linearized import (
    decoder_jacobian,
    low_rank_gaussian_log_prob,
    sampling_free_elbo,
)
from sfvae_jax.objectives.monte_carlo import sampling_elbo
from sfvae_jax.objectives.regularizers import (
    FIGURE_1_GAMMAS,
    Schedule,
    constant_gamma,
    equal_boundaries,
    linear_gamma,
    piecewise_gamma,
)


@dataclasses.dataclass(frozen=True)
class ObjectiveInfo:
    """What an objective, called by its name in a config, needs and is.

    Attributes:
        function: its name in this package.
        source: paper and equations.
        posteriors: posterior families it takes; the first is its natural one.
        likelihoods: likelihoods it takes.
        deterministic: whether it draws no noise.
        batch_statistic: whether it is a statement about a batch, not about one example.
        closed_form_kl: whether its KL divergence is exact.
        bound: whether its expectation is a lower bound of log p(x).
        decoder_passes: cost of one example, in passes through the decoder.
    """

    function: str
    source: str
    posteriors: tuple[str, ...]
    likelihoods: tuple[str, ...]
    deterministic: bool
    batch_statistic: bool
    closed_form_kl: bool
    bound: bool
    decoder_passes: str


OBJECTIVES = {
    "sampling": ObjectiveInfo(
        function="sampling_elbo",
        source="SFVAE Eqs. 7-9",
        posteriors=("diagonal",),
        likelihoods=("gaussian",),
        deterministic=False,
        batch_statistic=False,
        closed_form_kl=True,
        bound=True,
        decoder_passes="num_samples",
    ),
    "sampling_free": ObjectiveInfo(
        function="sampling_free_elbo",
        source="SFVAE Eqs. 14-21",
        posteriors=("diagonal",),
        likelihoods=("gaussian",),
        deterministic=True,
        batch_statistic=False,
        closed_form_kl=True,
        bound=False,
        decoder_passes="1 + m tangents",
    ),
}

__all__ = [
    "FIGURE_1_GAMMAS",
    "OBJECTIVES",
    "Elbo",
    "ObjectiveInfo",
    "Schedule",
    "constant_gamma",
    "decoder_jacobian",
    "equal_boundaries",
    "gaussian_entropy",
    "gaussian_expected_log_prior",
    "gaussian_kl_per_dimension",
    "gaussian_log_prob",
    "linear_gamma",
    "low_rank_gaussian_log_prob",
    "piecewise_gamma",
    "sampling_elbo",
    "sampling_free_elbo",
]
