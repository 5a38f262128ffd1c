"""Gaussian likelihoods whose variance is given or learned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.likelihoods.spec import LikelihoodSpec, Settings
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_example,
    check_pair,
    check_per_element,
    check_positive,
    check_shape,
    per_element,
)
from sfvae_jax.objectives.numerics.gaussian import gaussian_log_prob
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide

if TYPE_CHECKING:
    from sfvae_jax.grammars import Language


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gaussian:
    """p(x|z) = N(x; parameters, diag(variance)) with a fixed variance   (SFVAE Eq. 2).

    Attributes:
        variance: positive, a scalar or shaped like x.
    """

    variance: Array | float

    def log_prob(self, x: Array, parameters: Array) -> Array:
        """log p(x|z) in nats, summed over x; `parameters` is the mean, shaped like x."""
        return gaussian_log_prob(x, parameters, self.variance)

    def mean(self, parameters: Array) -> Array:
        """E[x|z], shaped like x."""
        return parameters

    def location(self, parameters: Array) -> Array:
        """The mean, whose information `fisher` returns; shaped like x."""
        return parameters

    def sample(self, rng: Array, parameters: Array) -> Array:
        """A draw of x, shaped like x."""
        deviation = jnp.sqrt(self._variance(parameters))
        drawn = wide(parameters) + deviation * normal_like(rng, parameters)
        return rounded_like(drawn, parameters, self.variance)

    def fisher(self, parameters: Array) -> Array:
        """Diagonal Fisher information of the mean, 1 / variance, shaped like x."""
        return 1.0 / self._variance(parameters)

    def information(self, x: Array, parameters: Array, tangent: Array) -> Array:
        """Fisher information along a direction of the mean, sum t^2 / variance; a scalar."""
        del x
        check_shape("the tangent", tangent, parameters.shape, ", as the parameters have")
        return jnp.sum(jnp.square(wide(tangent)) / self._variance(tangent))

    def _variance(self, like: Array) -> Array:
        """The variance of every element of x, in at least 32 bits."""
        check_positive("variance", self.variance)
        return per_element("variance", wide(self.variance), wide(like))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HeteroscedasticGaussian:
    """p(x|z) = N(x; mean, diag(T)) with a learned variance T   (BACK Section 5 and Figure 6a).

    `parameters` is the pair (mean, variance), both shaped like x. Without bounds the likelihood
    grows without limit as T -> 0 on data that the decoder fits, and training does not converge, as
    the paper shows (Section 7.2). With bounds, T = min + v r / (v + r), r = max - min, where v is
    the decoder's variance: T lies between the bounds and increases with v. Without an upper bound,
    T = min + v.

    Attributes:
        min_variance: lower bound of T, 0 or more.
        max_variance: upper bound of T.
    """

    min_variance: float = dataclasses.field(default=0.0, metadata={"static": True})
    max_variance: float = dataclasses.field(default=math.inf, metadata={"static": True})

    def __post_init__(self) -> None:
        """Checks the bounds."""
        if not 0.0 <= self.min_variance < self.max_variance:
            raise ArgumentError(
                "the variances must satisfy 0 <= min_variance < max_variance, got"
                f" {self.min_variance} and {self.max_variance}"
            )

    def variance(self, parameters: tuple[Array, Array]) -> Array:
        """T, within the bounds, shaped like x."""
        mean, variance = wide(_pair(parameters))
        check_per_element("the variance", variance, mean)
        span = self.max_variance - self.min_variance
        if math.isinf(span):
            return self.min_variance + variance
        return self.min_variance + variance * (span / (variance + span))

    def log_prob(self, x: Array, parameters: tuple[Array, Array]) -> Array:
        """log p(x|z) in nats, summed over x."""
        return self._gaussian(parameters).log_prob(x, self.mean(parameters))

    def mean(self, parameters: tuple[Array, Array]) -> Array:
        """E[x|z], shaped like x."""
        return _pair(parameters)[0]

    def location(self, parameters: tuple[Array, Array]) -> Array:
        """The mean, whose information `fisher` returns; shaped like x."""
        return _pair(parameters)[0]

    def sample(self, rng: Array, parameters: tuple[Array, Array]) -> Array:
        """A draw of x, shaped like x."""
        drawn = self._gaussian(parameters).sample(rng, self.mean(parameters))
        return rounded_like(drawn, *parameters)

    def fisher(self, parameters: tuple[Array, Array]) -> Array:
        """Diagonal Fisher information of the mean, 1 / T, shaped like x."""
        return self._gaussian(parameters).fisher(self.mean(parameters))

    def information(
        self, x: Array, parameters: tuple[Array, Array], tangent: tuple[Array, Array]
    ) -> Array:
        """Returns minus the second derivative of log p(x|z) along a direction; not negative.

        sum (T' / 2T)^2 + (m' + (x - m) T' / 2T)^2 / T,   m the mean, m' and T' their tangents

        The direction is a straight line of a = T^-1/2 and b = m T^-1/2, in which log p =
        log a - (a x - b)^2 / 2 - 1/2 log 2 pi is concave for every x: the result is
        (a' / a)^2 + (x a' - b')^2, where a' / a = -T' / 2T. Along a straight line of (m, T) or
        (m, log T) log p is not concave for any x: there the determinants of minus its second
        derivatives are -1 / 2T^3 and -(x - m)^2 / 2T^2. The mean over x ~ p(x|z) is the Fisher
        information, m'^2 / T + T'^2 / 2T^2, whatever the parameters.

        Args:
            x: an example.
            parameters: mean and variance, shaped like x.
            tangent: the direction, a pair like the parameters.

        Returns:
            A scalar, in nats per squared unit step along the direction.

        Raises:
            ArgumentError: if the shapes do not fit, or a variance is known not to be positive.
        """
        given, tangent = wide(_pair(parameters)), wide(_pair(tangent, "the tangent"))
        for name, own, value in zip(("mean", "variance"), tangent, given, strict=True):
            check_shape(f"the tangent's {name}", own, value.shape, f", as the {name} has")
        check_example(x, given[0], "the mean")
        variance, change = jax.jvp(self.variance, (given,), (tangent,))
        check_positive("the variance", variance)
        narrowing = change / (2.0 * variance)
        shift = tangent[0] + (wide(x) - given[0]) * narrowing
        return jnp.sum(jnp.square(narrowing) + jnp.square(shift) / variance)

    def _gaussian(self, parameters: tuple[Array, Array]) -> Gaussian:
        return Gaussian(self.variance(parameters))


def _pair(parameters: tuple[Array, Array], name: str = "parameters") -> tuple[Array, Array]:
    check_pair(name, parameters, "(mean, variance)")
    mean, variance = parameters
    return mean, variance


def _mean(outputs: Array, activate: Callable[[Array], Array], scales: Array | None) -> Array:
    del scales
    return activate(outputs[0])


def _mean_and_variance(
    outputs: Array, activate: Callable[[Array], Array], scales: Array | None
) -> tuple[Array, Array]:
    del scales
    return activate(outputs[0]), jnp.square(jax.nn.softplus(outputs[1]))


def _build(settings: Settings, language: Language | None) -> Gaussian:
    del language
    return Gaussian(settings.variance)


def _build_heteroscedastic(
    settings: Settings, language: Language | None
) -> HeteroscedasticGaussian:
    del language
    return HeteroscedasticGaussian(settings.min_variance, settings.max_variance or math.inf)


GAUSSIAN = LikelihoodSpec(
    name="gaussian",
    summary="a Gaussian of the pixels with the fixed variance likelihood.variance",
    build=_build,
    link=_mean,
    squared_error=True,
    has_information=True,
    activates_mean=True,
    loss_scales=("variance",),
    options=("variance",),
)
HETEROSCEDASTIC_GAUSSIAN = LikelihoodSpec(
    name="heteroscedastic_gaussian",
    summary="a Gaussian of the pixels whose decoder also gives the variance of every pixel",
    build=_build_heteroscedastic,
    link=_mean_and_variance,
    outputs_per_element=2,
    has_information=True,
    activates_mean=True,
    loss_scales=("max_variance",),
    advice="bound the learned variance with likelihood.min_variance",
    options=("min_variance", "max_variance"),
)
