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


def _below_table_2(
    says: str, table: str, measure: str, names: tuple[str, str], data: str, posterior: str
) -> Claim:
    """Says that a table's measure is below that of the same models in Table 2; names of both."""
    where = (f"data.name={data}", f"posterior.name={posterior}")
    other = quantity(names[1], measure, *where, table="gaps-table2")
    return Claim(says, table, quantity(names[0], measure, *where), "less", other)


def _new_encoders(says: str, measure: str) -> Claim:
    """Compares new encoders without a hidden layer of Section 5.2.1: with a flow, and without."""
    where = ("model.hidden_sizes=[]",)
    flow, gaussian = (
        quantity(name, measure, *where, f"posterior.name={posterior}")
        for name, posterior in (("flow", "auxiliary_flow"), ("Gaussian", "diagonal"))
    )
    return Claim(says, "gaps-section5.2.1", flow, "less", gaussian)


def _log_evidence(data: str, posterior: str, name: str, table: str = "gaps-table2") -> Quantity:
    where = (f"data.name={data}", f"posterior.name={posterior}")
    return quantity(name, "log_evidence_test", *where, table=table)


def _of_full_covariance(data: str) -> Quantity:
    return _log_evidence(data, "full_covariance", "full covariance", "gaps-table10")


def _optimum(data: str, family: str, name: str) -> Quantity:
    """The best bound that a family reaches for models trained with full covariances."""
    where = (f"data.name={data}", "posterior.name=full_covariance")
    return quantity(name, f"optimal_{family}_bound_test", *where)


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
        _log_evidence("mnist", "auxiliary_flow", "flow"),
        "more",
        _log_evidence("mnist", "diagonal", "Gaussian"),
    ),
    *(
        _below_table_2(
            f"On {name}, a larger encoder makes the amortization gap of {words} smaller.",
            "gaps-table3",
            "amortization_gap_test",
            ("larger encoder", "encoder of Table 2"),
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
        _below_table_2(
            f"On {name}, without annealing the entropy in training, the true posteriors are closer"
            " to factorised Gaussians (here: the approximation gap of these is smaller).",
            "gaps-table6",
            "approximation_gap_test",
            ("constant", "annealed"),
            data,
            "diagonal",
        )
        for data, name in MNIST_AND_FASHION
    ),
    *(
        Claim(
            f"On {name}, a model that was trained with full covariances has a worse bound with the"
            " best factorised Gaussian than with the best flow.",
            "gaps-table10",
            _optimum(data, "diagonal", "factorised"),
            "less",
            _optimum(data, "auxiliary_flow", "flow"),
        )
        for data, name in MNIST_AND_FASHION
    ),
    Claim(
        "On MNIST, full covariances give about the log p(x) of a flow (here: within 0.5 nats).",
        "gaps-table10",
        _of_full_covariance("mnist"),
        "equal",
        _log_evidence("mnist", "auxiliary_flow", "flow"),
        0.5,
    ),
    Claim(
        "On Fashion-MNIST, full covariances give a higher log p(x) than a flow.",
        "gaps-table10",
        _of_full_covariance("fashion_mnist"),
        "more",
        _log_evidence("fashion_mnist", "auxiliary_flow", "flow"),
    ),
)
