"""Training objectives as pure functions of one example: the heart of the library.

They depend on no network library, configuration, file or number of devices. `decode` is any
function of one latent [m]; the caller maps over a batch with `jax.vmap`. Bounds and likelihoods are
in nats and keep their constants.

    from sfvae_jax import objectives
    elbo = objectives.sampling_free_elbo(decode, x, mean, stddev, observation_variance=0.5)
    loss = -elbo.value

`batch_loss` applies any of them to a batch, by its name.
"""

from sfvae_jax.objectives.analysis.optimal_decoder import (
    optimal_decoder,
    optimal_decoder_jacobian,
    posterior_shares,
)
from sfvae_jax.objectives.analysis.posterior_gap import (
    constant_variance_penalty,
    posterior_gap,
    posterior_gap_second_order,
    posterior_precision,
)
from sfvae_jax.objectives.analysis.straightness import AxisBend, axis_bend
from sfvae_jax.objectives.batch.batch_information import (
    bilbo,
    bilbo_baggins,
    constant_variance_elbo,
    floating_prior_variance,
)
from sfvae_jax.objectives.batch.linearized_bilbo import linearized_bilbo, second_order_bilbo
from sfvae_jax.objectives.batch_loss import batch_loss
from sfvae_jax.objectives.bend import bend_penalty, decoder_bend
from sfvae_jax.objectives.control_variate import control_variate_elbo
from sfvae_jax.objectives.deterministic.autoencoders import cv_vae_loss, rae_loss, squared_error
from sfvae_jax.objectives.deterministic.penalties import (
    gradient_penalty,
    hutchinson_gradient_penalty,
    spectral_norm,
    spectral_normalize,
    squared_norm,
)
from sfvae_jax.objectives.deterministic.wae_mmd import (
    MMD_SCALES,
    maximum_mean_discrepancy,
    wae_mmd_loss,
)
from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.evidence import log_evidence
from sfvae_jax.objectives.linearized import linearized_elbo, second_order_elbo
from sfvae_jax.objectives.monte_carlo import (
    iwae_bound,
    sampling_elbo,
    sticking_the_landing_elbo,
)
from sfvae_jax.objectives.numerics.checks import ArgumentError
from sfvae_jax.objectives.numerics.decoders import DenseOutput, has_short_form
from sfvae_jax.objectives.numerics.gaussian import (
    gaussian_entropy,
    gaussian_expected_log_prior,
    gaussian_kl_per_dimension,
    gaussian_log_prob,
)
from sfvae_jax.objectives.sampling_free import (
    decoder_jacobian,
    low_rank_gaussian_log_prob,
    sampling_free_elbo,
)
from sfvae_jax.objectives.spec import Batch, Example, Loss, ObjectiveInfo, Options, Weights
from sfvae_jax.objectives.table import OBJECTIVES
from sfvae_jax.objectives.weights import (
    FIGURE_1_GAMMAS,
    Schedule,
    batch_free_bits_kl,
    constant_gamma,
    constant_weight,
    cyclic_weight,
    equal_boundaries,
    free_bits_kl,
    linear_gamma,
    linear_weight,
    piecewise_gamma,
    weighted_value,
)

__all__ = [
    "FIGURE_1_GAMMAS",
    "MMD_SCALES",
    "OBJECTIVES",
    "ArgumentError",
    "AxisBend",
    "Batch",
    "DenseOutput",
    "Elbo",
    "Example",
    "Loss",
    "ObjectiveInfo",
    "Options",
    "Schedule",
    "Weights",
    "axis_bend",
    "batch_free_bits_kl",
    "batch_loss",
    "bend_penalty",
    "bilbo",
    "bilbo_baggins",
    "constant_gamma",
    "constant_variance_elbo",
    "constant_variance_penalty",
    "constant_weight",
    "control_variate_elbo",
    "cv_vae_loss",
    "cyclic_weight",
    "decoder_bend",
    "decoder_jacobian",
    "equal_boundaries",
    "floating_prior_variance",
    "free_bits_kl",
    "gaussian_entropy",
    "gaussian_expected_log_prior",
    "gaussian_kl_per_dimension",
    "gaussian_log_prob",
    "gradient_penalty",
    "has_short_form",
    "hutchinson_gradient_penalty",
    "iwae_bound",
    "linear_gamma",
    "linear_weight",
    "linearized_bilbo",
    "linearized_elbo",
    "log_evidence",
    "low_rank_gaussian_log_prob",
    "maximum_mean_discrepancy",
    "optimal_decoder",
    "optimal_decoder_jacobian",
    "piecewise_gamma",
    "posterior_gap",
    "posterior_gap_second_order",
    "posterior_precision",
    "posterior_shares",
    "rae_loss",
    "sampling_elbo",
    "sampling_free_elbo",
    "second_order_bilbo",
    "second_order_elbo",
    "spectral_norm",
    "spectral_normalize",
    "squared_error",
    "squared_norm",
    "sticking_the_landing_elbo",
    "wae_mmd_loss",
    "weighted_value",
]
