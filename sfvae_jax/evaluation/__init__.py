"""Measures of trained models, and what they are computed from.

This is a face that only re-exports. `registry.py` has the table of all evaluations, `spec.py` says
what an evaluation is, `measured.py` what it returns, and each evaluation has a file of its own:

    bounds/           bounds of log p(x), posterior collapse, reconstruction
    linearization/    how good the linearised decoder is, and what BACK and SFVAE derive from it
    optimization/     how noisy training is, and how long it takes
    inference_gaps/   how far posteriors are from the best ones
    generation/       samples from densities of codes, and their distance from real images
    pictures/         what a model of images draws
    sequences/        how sequences are decoded, measured, drawn and searched
"""

from __future__ import annotations

from sfvae_jax.evaluation.bounds.collapse import collapse_fraction, kl_matrix
from sfvae_jax.evaluation.bounds.importance import importance_log_evidence
from sfvae_jax.evaluation.bounds.reconstruction import reconstructions, squared_errors
from sfvae_jax.evaluation.inference_gaps.annealed_importance_sampling import (
    AnnealedEstimate,
    annealed_importance_sampling,
)
from sfvae_jax.evaluation.linearization.constant_variance import floating_prior_stddev
from sfvae_jax.evaluation.linearization.jacobian_quality import equivalent_samples
from sfvae_jax.evaluation.linearization.output_covariance import (
    covariance_errors,
    covariance_statistics,
)
from sfvae_jax.evaluation.linearization.taylor import TaylorLine, taylor_line
from sfvae_jax.evaluation.measured import Doubtful, NotApplicable, OfText
from sfvae_jax.evaluation.pictures.latent_codes import encoded
from sfvae_jax.evaluation.pictures.prior_images import manifold, prior_samples
from sfvae_jax.evaluation.registry import (
    EVALUATIONS,
    check_kind,
    check_language,
    check_options,
    draw,
    inapplicable,
    measure,
    measure_named,
    metric_names,
    needed_splits,
    needs_labels,
    option_group,
)
from sfvae_jax.evaluation.sequences.decoding import (
    decode_examples,
    decode_texts,
    sentences,
)
from sfvae_jax.evaluation.sequences.judging import is_valid
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import FLOW_SIZES, TrainedModel

__all__ = [
    "EVALUATIONS",
    "FLOW_SIZES",
    "AnnealedEstimate",
    "Doubtful",
    "Evaluation",
    "Measure",
    "NotApplicable",
    "OfText",
    "TaylorLine",
    "TrainedModel",
    "annealed_importance_sampling",
    "check_kind",
    "check_language",
    "check_options",
    "collapse_fraction",
    "covariance_errors",
    "covariance_statistics",
    "decode_examples",
    "decode_texts",
    "draw",
    "encoded",
    "equivalent_samples",
    "floating_prior_stddev",
    "importance_log_evidence",
    "inapplicable",
    "is_valid",
    "kl_matrix",
    "manifold",
    "measure",
    "measure_named",
    "metric_names",
    "needed_splits",
    "needs_labels",
    "option_group",
    "prior_samples",
    "reconstructions",
    "sentences",
    "squared_errors",
    "taylor_line",
]
