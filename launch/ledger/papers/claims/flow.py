"""What follows from Sections 2 and 3 of the notes "Variational Auto Encoders".

They have no results. Section 2 says that annealing and free bits keep posteriors from becoming the
prior, and Section 3 that flows come closer to the true posterior.
"""

from __future__ import annotations

from launch.ledger.claims import Claim
from launch.ledger.papers.claims.quantities import quantity
from launch.ledger.papers.flow import ENAS

_ANNEALED = ("objective.beta_schedule=linear", "objective.free_bits=0.0")
_NEITHER = ("objective.beta_schedule=constant", "objective.free_bits=0.0")
_FREE_BITS = ("objective.beta_schedule=constant", "objective.free_bits=0.25")
_DIAGONAL = "posterior.name=diagonal"
_NETWORKS = (("architectures", "drawn networks"), (ENAS, "networks of ENAS"))


def _posteriors(says: str, posterior: str, *more: str) -> Claim:
    """Compares a posterior of Section 4 with a diagonal Gaussian; both are annealed."""
    flow = quantity(posterior, "lower_bound", f"posterior.name={posterior}", *_ANNEALED, *more)
    diagonal = quantity("diagonal", "lower_bound", _DIAGONAL, *_ANNEALED)
    return Claim(says, "flow-section4", flow, "more", diagonal)


def _information(says: str, data: str, name: str, by: tuple[str, str]) -> Claim:
    """Compares the KL divergence with that of a model that has neither of the two cures."""
    on = (f"data.name={data}", _DIAGONAL)
    return Claim(
        says,
        "flow-section4.1",
        quantity(name, "kl_divergence", *on, *by),
        "more",
        quantity("neither", "kl_divergence", *on, *_NEITHER),
    )


CLAIMS = (
    _posteriors(
        "On digits, a planar flow, shared by all images, gives a higher lower bound than a diagonal"
        " Gaussian.",
        "planar",
        "posterior.amortized_flow=False",
    ),
    _posteriors(
        "On digits, an inverse autoregressive flow gives a higher lower bound than a diagonal"
        " Gaussian.",
        "iaf",
    ),
    *(
        _information(
            f"For {words}, {name} keep{'s' * (name == 'annealing')} posteriors further from the"
            " prior (KL divergence).",
            data,
            name,
            by,
        )
        for data, words in _NETWORKS
        for name, by in (("annealing", _ANNEALED), ("free bits", _FREE_BITS))
    ),
)
