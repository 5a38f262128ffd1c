"""What each likelihood says about itself, by the name that a configuration gives it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Traits:
    """A likelihood, as objectives ask about it (`objectives.spec.LikelihoodTraits`).

    Attributes:
        squared_error: whether log p(x|z) is a squared error with fixed variances, but for its
            constants.
        of_sequences: whether its examples are sequences.
    """

    squared_error: bool = False
    of_sequences: bool = False


LIKELIHOODS = {
    "gaussian": Traits(squared_error=True),
    "heteroscedastic_gaussian": Traits(),
    "bernoulli": Traits(),
    "discretized_logistic": Traits(),
    "categorical": Traits(of_sequences=True),
    "sequence": Traits(of_sequences=True),
}
