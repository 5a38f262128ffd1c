"""The description of a family of posteriors, and how it reads the encoder's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.options import Option
from sfvae_jax.posteriors.protocol import Code

# How a standard deviation is made from an output of the encoder.
STDDEVS: dict[str, Callable[[Array], Array]] = {
    "exp": lambda raw: jnp.exp(0.5 * raw),  # the output is a log variance
    "softplus": jax.nn.softplus,
}


class Settings(Protocol):
    """The number of latents m, and the options of the group `posterior` by their names."""

    latent_size: int
    variance: float
    stddev: str
    num_flows: int
    hidden_sizes: Sequence[int]
    context_size: int
    amortized_flow: bool
    reverse_sizes: Sequence[int] | None
    auxiliary_start: str


# Declares parameters that all examples share.
# It takes their name in the module and a function from a key to their initial value, and returns
# their present value.
Declare = Callable[[str, Callable[[Array], Any]], Any]


@dataclasses.dataclass(frozen=True)
class PosteriorSpec:
    """A family of posteriors, by the name that a configuration gives it.

    Attributes:
        name: the value of `posterior.name`.
        summary: what it is, in one line.
        num_outputs: how many numbers the encoder must give.
        build: makes the posterior of one example from the encoder's outputs [num_outputs].
        of_decoder: makes the posterior from what `build` gives, the decoder of the example (a
            function of one latent [m]), the example and the likelihood; None if `build` gives it.
            The other attributes describe this posterior.
        requires_information: whether `of_decoder` needs the likelihood's `information`.
        has_density: whether q(z|x) is a distribution, not a single point.
        exact_density: whether the density that comes with a sample is log q(z|x), not an upper
            bound of it in expectation.
        closed_form_kl: whether its KL divergence to the prior has a closed form.
        kl_per_dimension: whether that closed form is a sum over the latent dimensions. Such a
            posterior has a `mean` and a `stddev`, which is all that linearised objectives need.
        gaussian: whether it is a Gaussian N(mean, L L'). Such a posterior has a `mean` and
            `deviation(noise)`, the linear map L noise, which control variates need, and linearised
            objectives where the dimensions are correlated.
        has_inverse: whether z can be mapped back to the noise, as path derivatives require.
        fixed_variance: whether its variance is given by `posterior.variance`, not learned.
        shares_networks: whether it has networks that all examples share.
        can_share_flow: whether all examples share its flow under
            `posterior.amortized_flow=false`.
        loss_scales: options of the group `posterior` that scale the loss. They are named in the
            advice on a loss that is not finite.
        options: options of the group `posterior` that only families that name them read.
        own_options: options that it adds to the group `posterior`; `build` and `num_outputs` find
            them in their settings.
    """

    name: str
    summary: str
    num_outputs: Callable[[Settings], int]
    build: Callable[[Settings, Array, Declare], Code]
    of_decoder: Callable[[Code, Callable[[Array], Any], Array, Any], Code] | None = None
    requires_information: bool = False
    has_density: bool = True
    exact_density: bool = True
    closed_form_kl: bool = False
    kl_per_dimension: bool = False
    gaussian: bool = False
    has_inverse: bool = True
    fixed_variance: bool = False
    shares_networks: bool = False
    can_share_flow: bool = False
    loss_scales: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    own_options: Mapping[str, Option] = dataclasses.field(default_factory=dict)

    def posterior(
        self, code: Code, decode: Callable[[Array], Any], x: Array, likelihood: Any
    ) -> Code:
        """Returns q(z|x) from what the model's `encode` gives for one example.

        That is q(z|x) itself, unless the family has `of_decoder`.

        Args:
            code: what `encode` gives.
            decode: maps one latent [m] to the parameters of p(x|z) that score x.
            x: the example.
            likelihood: p(x|z).
        """
        return code if self.of_decoder is None else self.of_decoder(code, decode, x, likelihood)


def mean_and_stddev(settings: Settings, raw: Array) -> tuple[Array, Array, Array]:
    """Splits the encoder's outputs into mean [m], standard deviation [m] and all that follows."""
    m = settings.latent_size
    mean, rest = raw[:m], raw[m:]
    return mean, STDDEVS[settings.stddev](rest[:m]), rest[m:]
