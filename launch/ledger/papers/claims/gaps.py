"""Claims of "Inference Suboptimality in Variational Autoencoders"."""

from __future__ import annotations

from typing import Literal

from launch.ledger.claims import Claim, Quantity
from launch.ledger.papers.claims.quantities import MNIST_AND_FASHION, quantity


def _gaps(says: str, data: str, posterior: str, margin: float = 0.0) -> Claim:
    """Compares the two gaps of a model of Table 2, on test images."""
    where = (f"data.name={data}", f"posterior.name={posterior}")
    amortization = quantity("amortization", "amortization_gap_test", *where)
    approximation = quantity("approximation", "approximation_gap_test", *where)
    relation: Literal["more", "equal"] = "equal" if margin else "more"
    return Claim(says, "gaps-table2", amortization, relation, approximation, margin)


def _encoders(says: str, data: str, posterior: str) -> Claim:
    """Compares the encoders of Tables 3 and 2, on test images."""
    measure, where = "amortization_gap_test", (f"data.name={data}", f"posterior.name={posterior}")
    smaller = quantity("encoder of Table 2", measure, *where, table="gaps-table2")
    return Claim(says, "gaps-table3", quantity("larger encoder", measure, *where), "less", smaller)


def _new_encoders(says: str, measure: str) -> Claim:
    """Compares new encoders without a hidden layer of Section 5.2.1: with a flow, and without."""
    where = ("model.hidden_sizes=[]",)
    flow, gaussian = (
        quantity(name, measure, *where, f"posterior.name={posterior}")
        for name, posterior in (("flow", "auxiliary_flow"), ("Gaussian", "diagonal"))
    )
    return Claim(says, "gaps-section5.2.1", flow, "less", gaussian)


def _annealed(says: str, data: str) -> Claim:
    """Compares models of Table 2, with annealed entropy, with those of Table 6."""
    measure, where = "approximation_gap_test", (f"data.name={data}", "posterior.name=diagonal")
    annealed = quantity("annealed", measure, *where, table="gaps-table2")
    return Claim(says, "gaps-table6", annealed, "more", quantity("constant", measure, *where))


def _of_full_covariance(data: str, measure: str) -> Quantity:
    names = {
        "log_evidence_test": "full covariance",
        "optimal_diagonal_bound_test": "factorised",
        "optimal_auxiliary_flow_bound_test": "flow",
    }
    where = (f"data.name={data}", "posterior.name=full_covariance")
    return quantity(names[measure], measure, *where, table="gaps-table10")


def _of_flow(data: str) -> Quantity:
    where = (f"data.name={data}", "posterior.name=auxiliary_flow")
    return quantity("flow", "log_evidence_test", *where, table="gaps-table2")


CLAIMS = (
    _gaps(
        "On MNIST, amortization and approximation gap are about equal (here: within 0.5 nats).",
        "mnist",
        "diagonal",
        0.5,
    ),
    _gaps(
        "On Fashion-MNIST, the amortization gap is larger than the approximation gap.",
        "fashion_mnist",
        "diagonal",
    ),
    _gaps("On Fashion-MNIST, this is so for a flow, too.", "fashion_mnist", "auxiliary_flow"),
    Claim(
        "On MNIST, a model with a flow has a higher log p(x) than one with a Gaussian posterior.",
        "gaps-table2",
        quantity("flow", "log_evidence_test", "data.name=mnist", "posterior.name=auxiliary_flow"),
        "more",
        quantity("Gaussian", "log_evidence_test", "data.name=mnist", "posterior.name=diagonal"),
    ),
    *(
        _encoders(
            f"On {name}, a larger encoder makes the amortization gap of {words} smaller.",
            data,
            posterior,
        )
        for data, name in MNIST_AND_FASHION
        for posterior, words in (
            ("diagonal", "a Gaussian posterior"),
            ("auxiliary_flow", "a flow"),
        )
    ),
    *(
        _new_encoders(
            f"Of new encoders without a hidden layer, one with a flow has the smaller {which} gap.",
            f"{which}_gap_test",
        )
        for which in ("approximation", "amortization")
    ),
    Claim(
        "A decoder with four hidden layers has a smaller approximation gap than one without.",
        "gaps-table5",
        quantity(
            "four layers", "approximation_gap_test", "model.decoder_sizes=[200, 200, 200, 200]"
        ),
        "less",
        quantity("none", "approximation_gap_test", "model.decoder_sizes=[]"),
    ),
    *(
        _annealed(
            f"On {name}, annealing the entropy in training makes the approximation gap larger.",
            data,
        )
        for data, name in MNIST_AND_FASHION
    ),
    *(
        Claim(
            f"On {name}, a model that was trained with full covariances has a worse bound with the"
            " best factorised Gaussian than with the best flow.",
            "gaps-table10",
            _of_full_covariance(data, "optimal_diagonal_bound_test"),
            "less",
            _of_full_covariance(data, "optimal_auxiliary_flow_bound_test"),
        )
        for data, name in MNIST_AND_FASHION
    ),
    Claim(
        "On MNIST, full covariances give about the log p(x) of a flow (here: within 0.5 nats).",
        "gaps-table10",
        _of_full_covariance("mnist", "log_evidence_test"),
        "equal",
        _of_flow("mnist"),
        0.5,
    ),
    Claim(
        "On Fashion-MNIST, full covariances give a higher log p(x) than a flow.",
        "gaps-table10",
        _of_full_covariance("fashion_mnist", "log_evidence_test"),
        "more",
        _of_flow("fashion_mnist"),
    ),
)
