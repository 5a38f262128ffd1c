"""The description of a likelihood: its parameters, their link, and the domain of x."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from jax import Array

from sfvae_jax.likelihoods.protocol import Likelihood
from sfvae_jax.options import Option

if TYPE_CHECKING:
    from sfvae_jax.grammars import Language


class Settings(Protocol):
    """The options of the group `likelihood`, by their names."""

    variance: float
    min_variance: float
    max_variance: float


class Link(Protocol):
    """A function that makes the parameters of p(x|z) from the outputs of the decoder's networks."""

    def __call__(
        self, outputs: Array, activate: Callable[[Array], Array], scales: Array | None
    ) -> Any:
        """Returns the parameters of one example.

        Args:
            outputs: the decoder's output, [outputs_per_element, *shape of x].
            activate: the activation that `model.output_activation` names, for a mean.
            scales: the output of the network of scales, [num_scales], or None.
        """


def no_scales(data_shape: Sequence[int]) -> int:
    """The number of scales of a likelihood without a network for them: 0."""
    del data_shape
    return 0


@dataclasses.dataclass(frozen=True)
class LikelihoodSpec:
    """A likelihood, by the name that a configuration gives it.

    Attributes:
        name: the value of `likelihood.name`.
        summary: what it is, in one line.
        build: makes the likelihood from the options of the group `likelihood` and the language of
            the sequences, which is None for images.
        link: for images, makes the parameters from the decoder's output. The decoders of sequences
            give the parameters themselves.
        outputs_per_element: for images, how many numbers the decoder gives for an element of x.
        num_scales: for images, how many more numbers a small network gives from z, as a function of
            the shape of x.
        of_sequences: whether x is a sequence, not an image.
        has_values: whether the places of the sequence have values.
        squared_error: whether -log p(x|z) is a squared error with a fixed variance, up to
            constants, and the parameters are the mean.
        has_information: whether the likelihood has `information(x, parameters, tangent)`, for the
            second-order forms of the linearised objectives.
        activates_mean: whether the parameters contain a mean to which `model.output_activation`
            applies.
        in_unit_interval: whether x must be pixels in [0, 1].
        requires_bytes: whether the pixels must be stored in 8 bits, as 256 levels.
        loss_scales: options of the group `likelihood` that scale the loss. They are named in the
            advice on a loss that is not finite.
        advice: what to change in this likelihood if the loss is not finite, in words that follow
            "or"; empty if nothing.
        options: options of the group `likelihood` that only likelihoods that name them read.
        own_options: options that it adds to the group `likelihood`, where `build` finds them.
    """

    name: str
    summary: str
    build: Callable[[Settings, Language | None], Likelihood]
    link: Link | None = None
    outputs_per_element: int = 1
    num_scales: Callable[[Sequence[int]], int] = no_scales
    of_sequences: bool = False
    has_values: bool = False
    squared_error: bool = False
    has_information: bool = False
    activates_mean: bool = False
    in_unit_interval: bool = False
    requires_bytes: bool = False
    loss_scales: tuple[str, ...] = ()
    advice: str = ""
    options: tuple[str, ...] = ()
    own_options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
