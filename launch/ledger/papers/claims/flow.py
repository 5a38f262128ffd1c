"""Claims of the notes "Variational Auto Encoders", which have no results of their own."""

from __future__ import annotations

from launch.ledger.claims import Claim
from launch.ledger.papers.claims.quantities import quantity
from launch.ledger.papers.flow import ENAS

_ANNEALED = ("objective.beta_schedule=linear", "objective.free_bits=0.0")
_NEITHER = ("objective.beta_schedule=constant", "objective.free_bits=0.0")
_FREE_BITS = ("objective.beta_schedule=constant", "objective.free_bits=0.25")
_DIAGONAL, _AMORTIZED = "posterior.name=diagonal", "posterior.amortized_flow=True"
_NETWORKS = (("architectures", "drawn networks"), (ENAS, "networks of ENAS"))


def _posteriors(says: str, posterior: str) -> Claim:
    """Compares a posterior of Section 4 with a diagonal Gaussian; both are annealed."""
    return Claim(
        says,
        "flow-section4",
        quantity(posterior, "lower_bound", f"posterior.name={posterior}", *_ANNEALED, _AMORTIZED),
        "more",
        quantity("diagonal", "lower_bound", _DIAGONAL, *_ANNEALED),
    )


def _information(says: str, data: str, name: str, by: tuple[str, str]) -> Claim:
    """Compares the information in the codes of networks with that of a model without any cure."""
    on = (f"data.name={data}", _DIAGONAL)
    return Claim(
        says,
        "flow-section4.1",
        quantity(name, "kl_divergence", *on, *by),
        "more",
        quantity("neither", "kl_divergence", *on, *_NEITHER),
    )


CLAIMS = (
    *(
        _posteriors(
            f"On digits, {words} gives a higher lower bound than a diagonal Gaussian.", posterior
        )
        for posterior, words in (
            ("full_covariance", "a Gaussian with full covariance"),
            ("planar", "a planar flow"),
            ("iaf", "an inverse autoregressive flow"),
        )
    ),
    *(
        _information(
            f"For {words}, {name} make{'s' * (name == 'annealing')} the codes carry more"
            " information (KL divergence).",
            data,
            name,
            by,
        )
        for data, words in _NETWORKS
        for name, by in (("annealing", _ANNEALED), ("free bits", _FREE_BITS))
    ),
)
