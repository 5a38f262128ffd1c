"""Claims of "There and Back Again: Unraveling the Variational Auto-Encoder"."""

from __future__ import annotations

from typing import Literal

from launch.ledger.claims import Claim
from launch.ledger.papers.claims.quantities import SAMPLING, quantity


def _variances(says: str, objective: str, latent_size: int) -> Claim:
    """Compares constant and learned variances of Figure 4."""
    measure, size = "lower_bound", f"model.latent_size={latent_size}"
    constant = quantity("constant", measure, f"objective.name={objective}", size)
    learned = quantity("learned", measure, SAMPLING, size)
    return Claim(says, "back-figure4", constant, "more", learned)


def _is_tight(says: str, latent_size: int) -> Claim:
    """Compares the lower bound of a model of Section 4.2 with its log p(x), by AIS."""
    where = (SAMPLING, f"model.latent_size={latent_size}")
    bound = quantity("ELBO", "lower_bound_test", *where)
    evidence = quantity("log p(x)", "log_evidence_test", *where)
    return Claim(says, "back-section4.2", bound, "equal", evidence, 1.0)


def _are_level(says: str, latent_size: int) -> Claim:
    """Compares the log p(x) of models of Section 4.2, by AIS."""
    size = f"model.latent_size={latent_size}"
    evidence, elbo = (
        quantity(name, "log_evidence_test", f"objective.name={objective}", size)
        for name, objective in (
            ("trained with the log evidence", "log_evidence"),
            ("trained with the ELBO", "sampling"),
        )
    )
    return Claim(says, "back-section4.2", evidence, "equal", elbo, 1.0)


def _scaled(says: str, scale: str, variance: str) -> Claim:
    """Compares posterior variances of Figure 8, with two latents."""
    where = ("objective.name=bilbo", "model.latent_size=2", f"model.latent_scale={scale}")
    first, second = (
        quantity(f"variance {one}", "lower_bound", *where, f"posterior.variance={one}")
        for one in (variance, "1.0")
    )
    return Claim(says, "back-figure8", first, "more", second)


def _data_scales(
    says: str, objective: str, relation: Literal["less", "equal"], margin: float = 0.0
) -> Claim:
    """Compares scales of the data in Figure 6."""
    where = f"objective.name={objective}"
    first, second = (
        quantity(f"scale {scale}", "kl_divergence", where, f"data.scale={scale}")
        for scale in ("0.1", "10.0")
    )
    return Claim(says, "back-figure6", first, relation, second, margin)


CLAIMS = (
    *(
        _variances(
            f"With {size} latents, {words} gives a higher lower bound than learned variances.",
            objective,
            size,
        )
        for size in (2, 100)
        for objective, words in (
            ("constant_variance", "one posterior variance for all images"),
            ("bilbo", "BILBO"),
        )
    ),
    *(
        _is_tight(
            f"With {size} latents, the ELBO of a trained model equals its log p(x) (here: within"
            " 1 nat).",
            size,
        )
        for size in (2, 10)
    ),
    *(
        _are_level(
            f"With {size} latents, training with the log evidence and with the ELBO gives the same"
            " log p(x) (here: within 1 nat).",
            size,
        )
        for size in (2, 10)
    ),
    *(
        _scaled(
            f"If the codes are scaled by {words}, a posterior variance of {variance} gives a higher"
            " lower bound than 1.",
            scale,
            number,
        )
        for words, scale, variance, number in (
            ("10", "10.0", "100", "100.0"),
            ("0.1", "0.1", "0.01", "0.01"),
        )
    ),
    _data_scales(
        "With a likelihood variance of 1 the scale of the data matters: the KL divergence is"
        " smaller for data scaled by 0.1 than by 10.",
        "bilbo",
        "less",
    ),
    _data_scales(
        "With BAGGINS the scale of the data does not matter (here: within 1 nat).",
        "bilbo_baggins",
        "equal",
        1.0,
    ),
)
