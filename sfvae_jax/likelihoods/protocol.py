"""The interface of a likelihood p(x|z) that the rest of the library relies on."""

from __future__ import annotations

from typing import Any, Protocol

from jax import Array


class Likelihood(Protocol):
    """A distribution p(x|z) of one example, whose `parameters` are the decoder's output.

    The parameters are an array shaped like x, or a pytree, as each likelihood says.
    """

    def log_prob(self, x: Array, parameters: Any) -> Array:
        """log p(x|z) in nats, summed over x; a scalar."""

    def mean(self, parameters: Any) -> Array:
        """E[x|z], shaped like x.

        Raises:
            NotImplementedError: for sequences under a grammar, which have a `mode` instead.
        """

    def location(self, parameters: Any) -> Any:
        """Returns the function of the parameters whose Fisher information `fisher` gives."""

    def sample(self, rng: Array, parameters: Any) -> Array:
        """A draw of x."""

    def fisher(self, parameters: Any) -> Array:
        """Diagonal Fisher information of `location(parameters)`, shaped like it.

        Raises:
            NotImplementedError: for sequences under a grammar, where it depends on x.
        """


class SequenceLikelihood(Likelihood, Protocol):
    """A distribution p(x|z) of one sequence."""

    def mode(self, parameters: Any) -> Array:
        """The likeliest rule at each place, given those before it: a whole sentence."""

    def noise(self, rng: Array, parameters: Any) -> Any:
        """Noise shaped like the parameters: the mode of their sum is a draw of x."""
