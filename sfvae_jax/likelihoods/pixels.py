"""Likelihoods of pixels in [0, 1] that are binary or have a fixed number of levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.likelihoods.spec import LikelihoodSpec, Settings
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_example,
    check_pair,
    check_shape,
    check_tells_apart,
    shape_of,
)
from sfvae_jax.objectives.numerics.precision import is_narrow, rounded_like, wide, wide_dtype

if TYPE_CHECKING:
    from sfvae_jax.grammars import Language


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """p(x_j = 1|z) = sigmoid(parameters_j), independently; `parameters` are logits, shaped like x.

    This is a distribution of x in {0, 1}. For grey levels between 0 and 1, `log_prob` is
    minus the cross entropy that many papers report. This is not a density of grey levels, so such a
    bound can only be compared with bounds of the same kind.
    """

    in_unit_interval: ClassVar[bool] = True

    def log_prob(self, x: Array, parameters: Array) -> Array:
        """sum_j x_j l_j - log(1 + e^l_j) in nats, finite for any finite logits l."""
        check_example(x, parameters)
        x, parameters = wide(x).ravel(), wide(parameters).ravel()
        return jnp.sum(x * parameters - jax.nn.softplus(parameters))

    def mean(self, parameters: Array) -> Array:
        """E[x|z] = sigmoid(logits), shaped like x."""
        return jax.nn.sigmoid(parameters)

    def location(self, parameters: Array) -> Array:
        """The mean p, whose information `fisher` returns; shaped like x.

        It is written so that its derivative p (1 - p) keeps its digits where p rounds to 1.
        """
        rest = 1.0 - jax.nn.sigmoid(-parameters)
        return jnp.where(parameters > 0.0, rest, jax.nn.sigmoid(parameters))

    def sample(self, rng: Array, parameters: Array) -> Array:
        """A draw of x in {0, 1}, shaped like x."""
        p = self.mean(wide(parameters))  # the uniform draws have as many bits as p
        return jax.random.bernoulli(rng, p).astype(parameters.dtype)

    def fisher(self, parameters: Array) -> Array:
        """Diagonal Fisher information of the mean p, 1 / (p (1 - p)), shaped like x."""
        # 1 / (sigmoid(l) sigmoid(-l)) = 2 + 2 cosh(l), which leaves float32 beyond l = 80.
        return 2.0 + 2.0 * jnp.cosh(jnp.clip(wide(parameters), -80.0, 80.0))

    def information(self, x: Array, parameters: Array, tangent: Array) -> Array:
        """Fisher information along a direction of the logits, sum p (1 - p) t^2; a scalar."""
        del x
        check_shape("the tangent", tangent, parameters.shape, ", as the parameters have")
        parameters, tangent = wide((parameters, tangent))
        variance = jax.nn.sigmoid(parameters) * jax.nn.sigmoid(-parameters)
        return jnp.sum(variance * jnp.square(tangent))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic:
    """Levels 0, 1/(L-1), ..., 1, each with a logistic's probability of its bin   (GAPS 6.1.3).

    P(x) = F((x + h - mu) / s) - F((x - h - mu) / s),   F = sigmoid, h = 1/2 / (L - 1)

    Level 0 has all mass below h, and level 1 all mass above 1 - h (Kingma et al., 2016).
    `parameters` is the pair (mu, log s): mu is shaped like x, and log s broadcasts to mu, such as
    one learned scale for each channel, [C].

    Attributes:
        num_levels: L, at least 2; 256 for pixels of 8 bits.
    """

    in_unit_interval: ClassVar[bool] = True
    num_levels: int = dataclasses.field(default=256, metadata={"static": True})

    def __post_init__(self) -> None:
        """Checks the number of levels."""
        if self.num_levels < 2:
            raise ArgumentError(f"num_levels must be at least 2, got {self.num_levels}")

    def log_prob(self, x: Array, parameters: tuple[Array, Array]) -> Array:
        """log P(x|z) in nats, summed over x, which lies in [0, 1] on the levels."""
        parameters = self._checked(parameters)
        return jnp.sum(self._log_mass(self._level(x, parameters[0]), parameters))

    def mean(self, parameters: tuple[Array, Array]) -> Array:
        """The exact E[x|z], shaped like x: the mean of P(x > edge) over the L - 1 inner edges."""
        given, parameters = parameters, self._checked(parameters)
        location, inverse_scale = self._location(parameters)

        def add(total: Array, edge: Array) -> tuple[Array, None]:
            return total + jax.nn.sigmoid((location - edge) * inverse_scale), None

        edges = (jnp.arange(self.num_levels - 1, dtype=location.dtype) + 0.5) * self._spacing
        total = jax.lax.scan(add, jnp.zeros_like(location), edges)[0]
        return rounded_like(total * self._spacing, *given)

    def location(self, parameters: tuple[Array, Array]) -> Array:
        """mu, whose information `fisher` returns; shaped like x."""
        check_pair("parameters", parameters, "(mu, log s)")
        return parameters[0]

    def sample(self, rng: Array, parameters: tuple[Array, Array]) -> Array:
        """A draw of x on the levels, shaped like x."""
        location, inverse_scale = self._location(self._checked(parameters))
        noise = jax.random.logistic(rng, location.shape, wide_dtype(location))
        levels = jnp.round((location + noise / inverse_scale) / self._spacing)
        return rounded_like(jnp.clip(levels, 0, self.num_levels - 1) * self._spacing, *parameters)

    def fisher(self, parameters: tuple[Array, Array]) -> Array:
        """Exact diagonal Fisher information of mu: sum_x P(x) (d log P / d mu)^2."""
        location, log_scale = self._checked(parameters)

        def add(total: Array, level: Array) -> tuple[Array, None]:
            def log_mass(location: Array) -> Array:
                return self._log_mass(jnp.full_like(location, level), (location, log_scale))

            value, slope = jax.jvp(log_mass, (location,), (jnp.ones_like(location),))
            return total + jnp.exp(value) * jnp.square(slope), None

        levels = jnp.arange(self.num_levels, dtype=location.dtype) * self._spacing
        return jax.lax.scan(add, jnp.zeros_like(location), levels)[0]

    def information(
        self, x: Array, parameters: tuple[Array, Array], tangent: tuple[Array, Array]
    ) -> Array:
        """Returns minus the second derivative of log P(x|z) along a direction; not negative.

        sum f(a) (mu'/s + a u')^2 + f(b) (mu'/s + b u')^2 + (w/2 / sinh(w/2))^2 u'^2

        Here a, b = (x +- h - mu) / s are the scaled edges of the bin with a > b, w = a - b,
        u = log s, f = F (1 - F) is the logistic's density, and mu' and u' are the tangents. The
        lowest level only has the term of a, the highest only that of b.

        The direction is a straight line of 1/s and mu/s, which a, b and w depend on linearly. As
        P = F(a) F(-b) (1 - exp(-w)), log P is a sum of concave functions of a, b and w there, for
        every x, and the terms above are minus their second derivatives. Along a straight line of
        (mu, log s) log P is not concave, unless s is constant: then mu is one of mu/s too. The mean
        over x ~ P is the Fisher information, whatever the parameters.

        Args:
            x: an example on the levels, as in `log_prob`.
            parameters: mu and log s.
            tangent: the direction, a pair like the parameters.

        Returns:
            A scalar, in nats per squared unit step along the direction.

        Raises:
            ArgumentError: if the shapes do not fit, or x has too few bits for the levels.
        """
        parameters = self._checked(parameters)
        check_pair("the tangent", tangent, "(mu, log s)")
        for name, own, value in zip(("mu", "log s"), tangent, parameters, strict=True):
            check_shape(f"the tangent's {name}", own, jnp.shape(value), f", as {name} has")
        location, inverse_scale = self._location(parameters)
        shift, widening = wide(tuple(tangent))
        shift, widening = shift * inverse_scale, _broadcast(widening, location)
        x = self._level(x, location)

        def of_edge(edge: Array) -> Array:
            size = jnp.abs(edge)  # f(edge) is the square of the first two factors
            return jnp.square(
                jnp.exp(-0.5 * size) * jax.nn.sigmoid(size) * (shift + edge * widening)
            )

        half = 0.5 * self._spacing
        upper = of_edge((x - location + half) * inverse_scale)
        lower = of_edge((x - location - half) * inverse_scale)
        width = jnp.square(_half_over_sinh(self._spacing * inverse_scale) * widening)
        return jnp.sum(self._by_level(x, upper, lower, upper + lower + width))

    @property
    def _spacing(self) -> float:
        return 1.0 / (self.num_levels - 1)

    def _checked(self, parameters: tuple[Array, Array]) -> tuple[Array, Array]:
        """Checks that log s broadcasts to mu, and returns mu and log s in at least 32 bits."""
        check_pair("parameters", parameters, "(mu, log s)")
        location, log_scale = wide(tuple(parameters))
        scales, shape = shape_of("log s", log_scale), location.shape
        ends = zip(scales[::-1], shape[::-1], strict=False)
        if len(scales) > len(shape) or any(own not in (1, whole) for own, whole in ends):
            raise ArgumentError(f"log s must broadcast to {shape}, the shape of mu, got {scales}")
        return location, log_scale

    def _level(self, x: Array, location: Array) -> Array:
        """Checks an example, and undoes a rounding to fewer than 32 bits."""
        check_example(x, location)
        check_tells_apart("x", x, self.num_levels, "levels")
        if is_narrow(x):  # rounding moved x by less than half a bin
            x = jnp.round(wide(x) / self._spacing) * self._spacing
        return x

    def _location(self, parameters: tuple[Array, Array]) -> tuple[Array, Array]:
        location, log_scale = parameters
        return location, _broadcast(jnp.exp(-log_scale), location)

    def _by_level(self, x: Array, lowest: Array, highest: Array, inside: Array) -> Array:
        """Chooses between the values for level 0, for level 1 and for the levels inside."""
        half = 0.5 * self._spacing
        return jnp.where(x < half, lowest, jnp.where(x > 1.0 - half, highest, inside))

    def _log_mass(self, x: Array, parameters: tuple[Array, Array]) -> Array:
        """log P(x) of every element.

        For scaled edges a > b, F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)). So nothing cancels,
        neither in the tails nor for a bin that is much narrower than the scale.
        """
        location, inverse_scale = self._location(parameters)
        half = 0.5 * self._spacing
        upper = jax.nn.log_sigmoid((x - location + half) * inverse_scale)  # log F(a)
        lower = jax.nn.log_sigmoid((location - x + half) * inverse_scale)  # log F(-b)
        width = _log_one_minus_exp(self._spacing * inverse_scale)
        return self._by_level(x, upper, lower, upper + lower + width)


def _broadcast(scales: Array, location: Array) -> Array:
    """Broadcasts values for the scales to the shape of the location, which has as many axes."""
    shape = (1,) * (location.ndim - jnp.ndim(scales)) + jnp.shape(scales)
    return jnp.broadcast_to(scales.reshape(shape), location.shape)


def _log_one_minus_exp(x: Array) -> Array:
    """log(1 - exp(-x)) for x > 0, finite and with a finite gradient down to the smallest x."""
    x = jnp.maximum(x, jnp.finfo(x.dtype).tiny)
    small = x < 1e-3
    series = jnp.log(jnp.where(small, x, 1.0)) - 0.5 * x
    return jnp.where(small, series, jnp.log(-jnp.expm1(-jnp.where(small, 1.0, x))))


def _half_over_sinh(x: Array) -> Array:
    """x/2 / sinh(x/2) for x >= 0, finite and with a finite gradient for any x."""
    small = x < 1e-2
    large = jnp.where(small, 1.0, x)
    series = 1.0 - jnp.square(jnp.where(small, x, 0.0)) / 24.0
    return jnp.where(small, series, large * jnp.exp(-0.5 * large) / -jnp.expm1(-large))


def _logits(outputs: Array, activate: Callable[[Array], Array], scales: Array | None) -> Array:
    del activate, scales
    return outputs[0]


def _location_and_log_scale(
    outputs: Array, activate: Callable[[Array], Array], scales: Array | None
) -> tuple[Array, Array]:
    """Squashes the location into [0, 1]; log s is what the network of scales gives, shifted."""
    del activate
    assert scales is not None
    # With the shift, an untrained scale is about 35 of 256 levels instead of all of them.
    return jax.nn.sigmoid(outputs[0]), scales - 2.0


def _num_channels(data_shape: Sequence[int]) -> int:
    """One scale for each channel of an image."""
    return data_shape[-1] if len(data_shape) == 3 else 1


def _build_bernoulli(settings: Settings, language: Language | None) -> Bernoulli:
    del settings, language
    return Bernoulli()


def _build_logistic(settings: Settings, language: Language | None) -> DiscretizedLogistic:
    del settings, language
    return DiscretizedLogistic()


BERNOULLI = LikelihoodSpec(
    name="bernoulli",
    summary="independent binary pixels; grey levels are scored by the cross entropy",
    build=_build_bernoulli,
    link=_logits,
    has_information=True,
    in_unit_interval=Bernoulli.in_unit_interval,
)
DISCRETIZED_LOGISTIC = LikelihoodSpec(
    name="discretized_logistic",
    summary="256 levels under a logistic, with one learned scale for each channel",
    build=_build_logistic,
    link=_location_and_log_scale,
    num_scales=_num_channels,
    has_information=True,
    in_unit_interval=DiscretizedLogistic.in_unit_interval,
    requires_bytes=True,
)
