"""Training objectives as pure functions of one example: the heart of the library.

They know no network library, config, file or device count. `decode` is any callable from one
latent [m]; the caller maps over a batch with `jax.vmap`. Everything is in nats, constants kept.

    from sfvae_jax import objectives
    elbo = objectives.sampling_free_elbo(decode, x, mean, stddev, observation_variance=0.5)
    loss = -elbo.value
"""

from __future__ import annotations

import dataclasses

from sfvae_jax.objectives.batch_information import (
    bilbo,
    bilbo_baggins,
    constant_variance_elbo,
    floating_prior_variance,
)
from sfvae_jax.objectives.decoders import DenseOutput, has_short_form
from sfvae_jax.objectives.deterministic import (
    MMD_SCALES,
    cv_vae_loss,
    gradient_penalty,
    hutchinson_gradient_penalty,
    maximum_mean_discrepancy,
    rae_loss,
    spectral_norm,
    squared_error,
    squared_norm,
    wae_mmd_loss,
)
from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.evidence import (
    constant_variance_penalty,
    linearized_elbo,
    log_evidence,
    posterior_gap,
    posterior_gap_second_order,
    posterior_precision,
)
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
from sfvae_jax.objectives.monte_carlo import (
    iwae_bound,
    sampling_elbo,
    sticking_the_landing_elbo,
)
from sfvae_jax.objectives.numerics.checks import ArgumentError
from sfvae_jax.objectives.optimal import (
    optimal_decoder,
    optimal_decoder_jacobian,
    posterior_shares,
)
from sfvae_jax.objectives.regularizers import (
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
from sfvae_jax.objectives.second_order import second_order_elbo


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
        parts: whether it is an `Elbo`, on whose parts beta and annealing act.
        prior: "fixed", N(0, I); "floating", N(0, S^2) with S^2 from the codes; or "none".
        density: whether it trains a density p(x|z), not a reconstruction alone.
        bound: whether it is a lower bound of log p(x), in words that begin with yes or no.
        decoder_passes: cost of one example, in passes through the decoder.
        has_tangents: whether m tangents of the decoder are among them.
        of_sequences: the function's name where the examples are sequences, if that is another.
    """

    function: str
    source: str
    posteriors: tuple[str, ...]
    likelihoods: tuple[str, ...]
    deterministic: bool
    batch_statistic: bool
    closed_form_kl: bool
    parts: bool
    prior: str
    density: bool
    bound: str
    decoder_passes: str
    has_tangents: bool = False
    of_sequences: str = ""


_WITH_DENSITY = ("diagonal", "full_covariance", "planar", "iaf", "auxiliary_flow", "constant")
_WITH_INVERSE = tuple(name for name in _WITH_DENSITY if name != "planar")
_FACTORIZED = ("diagonal", "constant")

CLOSED_FORM_KL = (*_FACTORIZED, "full_covariance")
"""Posteriors whose KL divergence to the prior has a closed form: of each dimension in the first
two, of all dimensions together in the last."""

SEQUENCE_LIKELIHOODS = ("categorical", "sequence")
"""Names of the likelihoods of sequences; all others are of pixels."""

_ALL_LIKELIHOODS = (
    "gaussian",
    "heteroscedastic_gaussian",
    "bernoulli",
    "discretized_logistic",
    *SEQUENCE_LIKELIHOODS,
)
_WITH_INFORMATION = ("gaussian", *SEQUENCE_LIKELIHOODS)

_DETERMINISTIC = {
    "posteriors": ("none",),
    "likelihoods": ("gaussian",),
    "deterministic": True,
    "batch_statistic": False,
    "closed_form_kl": False,
    "parts": False,
    "prior": "none",
    "density": False,
    "bound": "no: a squared error",
}
_RECONSTRUCTION = _DETERMINISTIC | {
    "likelihoods": _WITH_INFORMATION,
    "bound": "no: a reconstruction error",
}

OBJECTIVES = {
    "sampling": ObjectiveInfo(
        function="sampling_elbo",
        source="SFVAE Eqs. 7-9",
        posteriors=_WITH_DENSITY,
        likelihoods=_ALL_LIKELIHOODS,
        deterministic=False,
        batch_statistic=False,
        closed_form_kl=True,
        parts=True,
        prior="fixed",
        density=True,
        bound="yes, in expectation",
        decoder_passes="num_samples",
    ),
    "sticking_the_landing": ObjectiveInfo(
        function="sticking_the_landing_elbo",
        source="SFVAE Table 3, Roeder et al. 2017",
        posteriors=_WITH_INVERSE,
        likelihoods=_ALL_LIKELIHOODS,
        deterministic=False,
        batch_statistic=False,
        closed_form_kl=False,
        parts=True,
        prior="fixed",
        density=True,
        bound="yes, in expectation",
        decoder_passes="num_samples",
    ),
    "iwae": ObjectiveInfo(
        function="iwae_bound",
        source="GAPS Eq. 9",
        posteriors=_WITH_DENSITY,
        likelihoods=_ALL_LIKELIHOODS,
        deterministic=False,
        batch_statistic=False,
        closed_form_kl=False,
        parts=False,
        prior="fixed",
        density=True,
        bound="yes, in expectation",
        decoder_passes="num_samples",
    ),
    "sampling_free": ObjectiveInfo(
        function="sampling_free_elbo",
        source="SFVAE Eqs. 14-21",
        posteriors=_FACTORIZED,
        likelihoods=("gaussian",),
        deterministic=True,
        batch_statistic=False,
        closed_form_kl=True,
        parts=True,
        prior="fixed",
        density=True,
        bound="no: an approximation",
        decoder_passes="1 + m tangents",
        has_tangents=True,
    ),
    "linearized": ObjectiveInfo(
        function="linearized_elbo",
        source="BACK Eq. 17",
        posteriors=_FACTORIZED,
        likelihoods=_WITH_INFORMATION,
        deterministic=True,
        batch_statistic=False,
        closed_form_kl=True,
        parts=True,
        prior="fixed",
        density=True,
        bound="no: an approximation",
        decoder_passes="1 + m tangents",
        has_tangents=True,
        of_sequences="second_order_elbo",
    ),
    "log_evidence": ObjectiveInfo(
        function="log_evidence",
        source="BACK Eqs. 16, 26",
        posteriors=("none",),
        likelihoods=("gaussian",),
        deterministic=True,
        batch_statistic=False,
        closed_form_kl=False,
        parts=False,
        prior="fixed",
        density=True,
        bound="no: an approximation",
        decoder_passes="1 + m tangents",
        has_tangents=True,
    ),
    "constant_variance": ObjectiveInfo(
        function="constant_variance_elbo",
        source="BACK Eqs. 2, 4",
        posteriors=("constant",),
        likelihoods=_ALL_LIKELIHOODS,
        deterministic=False,
        batch_statistic=True,
        closed_form_kl=True,
        parts=True,
        prior="floating",
        density=True,
        bound="yes, in expectation, under the batch's own prior",
        decoder_passes="1",
    ),
    "bilbo": ObjectiveInfo(
        function="bilbo",
        source="BACK Eq. 24",
        posteriors=("constant",),
        likelihoods=_ALL_LIKELIHOODS,
        deterministic=False,
        batch_statistic=True,
        closed_form_kl=True,
        parts=False,
        prior="floating",
        density=True,
        bound="yes, in expectation, under the batch's own prior",
        decoder_passes="1",
    ),
    "bilbo_baggins": ObjectiveInfo(
        function="bilbo_baggins",
        source="BACK Eqs. 29, 30",
        posteriors=("constant",),
        likelihoods=("gaussian",),
        deterministic=False,
        batch_statistic=True,
        closed_form_kl=True,
        parts=False,
        prior="floating",
        density=False,
        bound="no: its variance follows the residual",
        decoder_passes="1",
    ),
    "autoencoder": ObjectiveInfo(
        function="squared_error",
        source="RAE Eq. 8",
        **_RECONSTRUCTION,
        decoder_passes="1",
        of_sequences="rae_loss",
    ),
    "rae": ObjectiveInfo(
        function="rae_loss",
        source="RAE Eq. 11",
        **_RECONSTRUCTION,
        decoder_passes="1",
    ),
    "rae_l2": ObjectiveInfo(
        function="rae_loss",
        source="RAE Eq. 11, L_L2",
        **_RECONSTRUCTION,
        decoder_passes="1",
    ),
    "rae_gp": ObjectiveInfo(
        function="rae_loss",
        source="RAE Eq. 11, L_GP",
        **_RECONSTRUCTION,
        decoder_passes="1 + m tangents, or num_probes",
        has_tangents=True,
    ),
    "rae_sn": ObjectiveInfo(
        function="rae_loss",
        source="RAE Eq. 11, SN",
        **_DETERMINISTIC,
        decoder_passes="1",
    ),
    "cv_vae": ObjectiveInfo(
        function="cv_vae_loss",
        source="RAE Eq. 10",
        **{**_DETERMINISTIC, "posteriors": ("constant",), "deterministic": False},
        decoder_passes="1",
    ),
    "wae_mmd": ObjectiveInfo(
        function="wae_mmd_loss",
        source="RAE Table 1, Tolstikhin et al. 2018",
        **{**_DETERMINISTIC, "deterministic": False, "batch_statistic": True, "prior": "fixed"},
        decoder_passes="1",
    ),
}

__all__ = [
    "CLOSED_FORM_KL",
    "FIGURE_1_GAMMAS",
    "MMD_SCALES",
    "OBJECTIVES",
    "SEQUENCE_LIKELIHOODS",
    "ArgumentError",
    "DenseOutput",
    "Elbo",
    "ObjectiveInfo",
    "Schedule",
    "batch_free_bits_kl",
    "bilbo",
    "bilbo_baggins",
    "constant_gamma",
    "constant_variance_elbo",
    "constant_variance_penalty",
    "constant_weight",
    "cv_vae_loss",
    "cyclic_weight",
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
    "second_order_elbo",
    "spectral_norm",
    "squared_error",
    "squared_norm",
    "sticking_the_landing_elbo",
    "wae_mmd_loss",
    "weighted_value",
]
