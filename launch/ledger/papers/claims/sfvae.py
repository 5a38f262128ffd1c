"""Claims of "A Sampling-Free Approximation of Gaussian Variational Auto-Encoders"."""

from __future__ import annotations

from typing import Literal

from launch.ledger.claims import Claim
from launch.ledger.papers.claims.quantities import (
    MNIST_AND_OMNIGLOT,
    SAMPLING,
    SAMPLING_FREE,
    quantity,
)
from launch.ledger.views import END

# The small runs of Table 3 end before the order of the estimators turns.
_EARLY = ("mnist_5k", "4,000 digits, after 4,000 steps")
_DISTANCE = "frechet_classifier_distance_prior"


def _collapse(says: str, measure: str) -> Claim:
    """Compares the models of Table 4 after 1,000 steps; Eq. 21 as it is printed."""
    eq_21 = (SAMPLING_FREE, "objective.log_det_weight=1.0")
    free = quantity("sampling-free", measure, *eq_21, step="1000")
    return Claim(
        says, "sfvae-table4", free, "less", quantity("sampling", measure, SAMPLING, step="1000")
    )


def _estimators(says: str, data: str, objective: str, num_samples: int) -> Claim:
    """Compares the sampling-free model of Table 3 with another one."""
    measure, on = "nll_without_constant", f"data.name={data}"
    sampled = (f"objective.name={objective}", f"objective.num_samples={num_samples}")
    number = "1 sample" if num_samples == 1 else f"{num_samples} samples"
    return Claim(
        says,
        "sfvae-table3",
        quantity("sampling-free", measure, on, SAMPLING_FREE),
        "more" if objective == "iwae" else "less",
        quantity(number, measure, on, *sampled),
    )


def _tangent(says: str, measure: str, relation: Literal["less", "more"], samples: int) -> Claim:
    """Compares the linearised decoder of Table 1 with samples, in the sampling model."""
    linearized = quantity("tangent", f"{measure}_linearized", SAMPLING)
    sampled = quantity(f"{samples} samples", f"{measure}_{samples}", SAMPLING)
    return Claim(says, "sfvae-table1", linearized, relation, sampled)


def _sprites(says: str, measure: str, step: str = END, margin: float = 0.0) -> Claim:
    """Compares the models of Table 5 with 16 latents."""
    size = "model.latent_size=16"
    relation: Literal["less", "equal"] = "equal" if margin else "less"
    free = quantity("sampling-free", measure, SAMPLING_FREE, size, step=step)
    sampled = quantity("sampling", measure, SAMPLING, size)
    return Claim(says, "sfvae-table5", free, relation, sampled, margin)


CLAIMS = (
    _collapse(
        "Fewer latents collapse in the sampling-free model than in the sampling model.",
        "collapse_fraction",
    ),
    _collapse(
        "The sampling-free model has the smaller reconstruction error, at the posterior mean.",
        "reconstruction_error",
    ),
    _collapse(
        "The same at a sample of the posterior. (The paper does not say where it takes the error.)",
        "reconstruction_error_at_sample",
    ),
    _collapse("The sampling-free model has the smaller KL divergence.", "kl_divergence"),
    _tangent(
        "The linearised decoder gives the variances of the outputs better than 50 samples.",
        "variance_correlation",
        "more",
        50,
    ),
    _tangent(
        "The linearised decoder gives the covariance of the outputs better than 235 samples.",
        "covariance_error_squared",
        "less",
        235,
    ),
    *(
        _estimators(
            f"On {name}, the sampling-free model has a lower negative log likelihood than {words}.",
            data,
            *than,
        )
        for data, name in (*MNIST_AND_OMNIGLOT, _EARLY)
        for words, than in (
            ("one trained with 1 sample", ("sampling", 1)),
            ("one trained with 20 samples", ("sampling", 20)),
            ("one trained by sticking the landing, 1 sample", ("sticking_the_landing", 1)),
        )
    ),
    _estimators(
        "On MNIST, IWAE with 20 samples has a lower one than the sampling-free model.",
        "mnist",
        "iwae",
        20,
    ),
    _sprites(
        "The sampling-free model generates images closer to the data (here: sprites).",
        _DISTANCE,
    ),
    _sprites(
        "After two thirds of its steps it already generates images closer to the data than the"
        " sampling model at the end (here: sprites).",
        _DISTANCE,
        "1300",
    ),
    _sprites(
        "The marginal likelihoods of both models are equal (here: sprites, within 1 nat).",
        "marginal_likelihood",
        margin=1.0,
    ),
    Claim(
        "A gamma that falls to 0.5 gives a higher ELBO, by sampling, than one that stays at 0.95.",
        "sfvae-figure1",
        quantity("falls to 0.5", "sampling_elbo", "objective.gamma_schedule=piecewise"),
        "more",
        quantity(
            "stays at 0.95",
            "sampling_elbo",
            "objective.gamma_schedule=constant",
            "objective.gamma=0.95",
        ),
    ),
)
