"""The interface of a posterior q(z|x) that the rest of the library relies on."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from jax import Array


class Code(Protocol):
    """The result of any encoder: a dataclass with one latent that stands for the example."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def mean(self) -> Array:
        """The mean of the base distribution, or the code itself, [m]."""

    def center(self) -> Array:
        """The latent [m] that stands for the whole posterior."""


class Posterior(Code, Protocol):
    """A distribution q(z|x) that can be sampled and scored."""

    def sample_and_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A reparameterised sample z [m] and log q(z|x) in nats, a scalar."""

    def sample_and_path_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """Returns the values of `sample_and_log_prob`; log q only has a gradient through z.

        Raises:
            NotImplementedError: if the family has no tractable inverse.
        """


class GaussianPosterior(Posterior, Protocol):
    """A posterior N(mean, L L'), whose KL divergence to a Gaussian prior has a closed form."""

    def deviation(self, noise: Array) -> Array:
        """L e [m] in at least 32 bits, where noise [m] is e: z = mean + L e for e ~ N(0, I)."""

    def log_prob(self, z: Array) -> Array:
        """log q(z|x) in nats, a scalar, of any z [m]."""

    def expected_log_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """E_q log N(z; 0, diag(prior_stddev^2)) in nats, a scalar."""

    def entropy(self) -> Array:
        """-E_q log q(z|x) in nats, a scalar."""

    def kl_to_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """KL(q(z|x) || N(0, diag(prior_stddev^2))) in nats, a scalar."""
