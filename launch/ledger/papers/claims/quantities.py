"""What the claims of several papers are made of."""

from __future__ import annotations

from launch.ledger.claims import Quantity
from launch.ledger.views import END

SAMPLING = "objective.name=sampling"
SAMPLING_FREE = "objective.name=sampling_free"
# data.name, and how texts call it.
MNIST_AND_OMNIGLOT = (("mnist", "MNIST"), ("omniglot", "Omniglot"))
MNIST_AND_FASHION = (("mnist", "MNIST"), ("fashion_mnist", "Fashion-MNIST"))


def quantity(name: str, measure: str, *where: str, step: str = END, table: str = "") -> Quantity:
    """Returns a quantity; `where` holds KEY=VALUE texts."""
    pairs = (text.partition("=")[::2] for text in where)
    return Quantity(name, measure, tuple(pairs), step, table)
