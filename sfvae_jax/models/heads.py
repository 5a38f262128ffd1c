"""From an encoder's last layer to a posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sfvae_jax import posteriors

STDDEVS: dict[str, Callable[[Array], Array]] = {
    "exp": lambda raw: jnp.exp(0.5 * raw),  # the output is a log variance
    "softplus": nn.softplus,
}

POSTERIORS = (
    "diagonal",
    "full_covariance",
    "planar",
    "iaf",
    "auxiliary_flow",
    "constant",
    "none",
)


class PosteriorHead(nn.Module):
    """q(z|x) from the `num_outputs` numbers that an encoder ends with.

    The parameters of planar flows come from the encoder, example by example, or are parameters of
    the head (FLOW Eq. 26), which all examples share. IAF and the auxiliary flow share their
    networks between the examples and take a context from the encoder.

    Attributes:
        family: one of `POSTERIORS`.
        latent_size: m.
        variance: of every dimension, of the family "constant".
        stddev: what makes a standard deviation of an output, a key of `STDDEVS`.
        num_flows: steps of a flow.
        hidden_sizes: of a flow's networks.
        context_size: numbers that IAF's and the auxiliary flow's networks get from the encoder.
        amortized_flow: whether the encoder gives the parameters u, w and b of planar flows.
        reverse_sizes: of the auxiliary flow's network for r(v|z); None: hidden_sizes.
        auxiliary_start: what its v_0 is drawn from, one of `posteriors.AUXILIARY_STARTS`.
    """

    family: str
    latent_size: int
    variance: float = 1.0
    stddev: str = "exp"
    num_flows: int = 2
    hidden_sizes: Sequence[int] = (100, 100)
    context_size: int = 32
    amortized_flow: bool = True
    reverse_sizes: Sequence[int] | None = None
    auxiliary_start: str = "conditional"

    @property
    def num_outputs(self) -> int:
        """How many numbers the encoder must give."""
        m = self.latent_size
        planar = self.num_flows * (2 * m + 1) if self.amortized_flow else 0
        return {
            "none": m,
            "constant": m,
            "diagonal": 2 * m,
            "full_covariance": 2 * m + m * (m - 1) // 2,
            "planar": 2 * m + planar,
            "iaf": 2 * m + self.context_size,
            "auxiliary_flow": 2 * m + self.context_size,
        }[self.family]

    @nn.compact
    def __call__(self, raw: Array) -> Any:
        """[num_outputs] to a posterior."""
        m = self.latent_size
        mean, rest = raw[:m], raw[m:]
        if self.family == "none":
            return posteriors.Point(mean)
        if self.family == "constant":
            return posteriors.DiagonalGaussian(mean, jnp.full_like(mean, self.variance**0.5))
        stddev, rest = STDDEVS[self.stddev](rest[:m]), rest[m:]
        if self.family == "diagonal":
            return posteriors.DiagonalGaussian(mean, stddev)
        if self.family == "full_covariance":
            below = jnp.zeros((m, m), raw.dtype).at[jnp.tril_indices(m, -1)].set(rest)
            return posteriors.FullCovarianceGaussian(mean, below + jnp.diag(stddev))
        if self.family == "planar" and not self.amortized_flow:
            flow = self.param("flow", posteriors.init_planar, m, num_flows=self.num_flows)
            return posteriors.PlanarFlow(mean, stddev, **flow)
        if self.family == "planar":
            u, w, b = jnp.split(rest, [self.num_flows * m, 2 * self.num_flows * m])
            shape = (self.num_flows, m)
            return posteriors.PlanarFlow(mean, stddev, u.reshape(shape), w.reshape(shape), b)
        sizes = {
            "num_flows": self.num_flows,
            "hidden_sizes": self.hidden_sizes,
            "context_size": self.context_size,
        }
        initialize, build = posteriors.init_iaf, posteriors.InverseAutoregressiveFlow
        if self.family == "auxiliary_flow":
            initialize, build = posteriors.init_auxiliary_flow, posteriors.AuxiliaryFlow
            sizes |= {"reverse_sizes": self.reverse_sizes, "auxiliary_start": self.auxiliary_start}
        networks = self.param("networks", lambda rng: initialize(rng, m, **sizes))
        return build(mean, stddev, rest if self.context_size else None, networks)
