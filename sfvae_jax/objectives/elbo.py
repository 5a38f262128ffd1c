"""The evidence lower bound of one example, kept in parts."""

from __future__ import annotations

import dataclasses

import jax
from jax import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Elbo:
    """The ELBO, E_q log p(x|z) + E_q log p(z) - E_q log q(z|x), of one example, in nats.

    Every part keeps its constants, so that values of different objectives can be compared.
    Weighting (beta, free bits, annealing) acts on the parts. `jax.vmap` gives each part a leading
    axis.

    Attributes:
        log_likelihood: E_q log p(x|z), or the objective's approximation of it; scalar.
        log_prior: E_q log p(z); scalar.
        entropy: -E_q log q(z|x); scalar.
        kl_per_dimension: KL(q(z_i|x) || p(z_i)), shape [m]; None without a closed form.
        bend: an estimate of the decoder's expected bend (`bend_penalty`), scalar, which training
            weights and subtracts; it is no part of the ELBO. None if it was not asked for.
    """

    log_likelihood: Array
    log_prior: Array
    entropy: Array
    kl_per_dimension: Array | None = None
    bend: Array | None = None

    @property
    def kl(self) -> Array:
        """KL(q(z|x) || p(z)) = -(E_q log p(z) + entropy), in nats."""
        return -(self.log_prior + self.entropy)

    @property
    def value(self) -> Array:
        """The bound itself, log_likelihood - kl, in nats."""
        return self.log_likelihood - self.kl
