"""Likelihoods of sequences: derivations of a grammar, with or without values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.likelihoods.spec import LikelihoodSpec, Settings
from sfvae_jax.objectives.numerics.checks import (
    check_pair,
    check_positive,
    check_scalar,
    check_shape,
    check_tells_apart,
    shape_of,
)
from sfvae_jax.objectives.numerics.gaussian import gaussian_log_prob
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide, wide_dtype

if TYPE_CHECKING:
    from sfvae_jax.grammars import Language, RuleTables


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Categorical:
    """p(x_t = k|z) = softmax over the rules that place t allows   (GVAE, Kusner et al. 2017).

    log p(x|z) = sum_t [l_t[x_t] - log sum_{k allowed at t} exp l_t[k]],   l = parameters

    `parameters` are logits [T, K]. The rules before a place determine which rules it allows.
    Therefore the probabilities of all sentences with at most T rules sum to 1, and no other
    sequence has a positive probability. The padding of a finished derivation has probability 1 and
    adds 0. Without tables every place allows all K rules: these are independent categoricals, x may
    have any shape [...], and the logits are [..., K].

    Attributes:
        tables: which rules the grammar of the sequences allows at each place, or None.
    """

    tables: RuleTables | None = dataclasses.field(default=None, metadata={"static": True})

    def log_prob(self, x: Array, parameters: Array) -> Array:
        """Returns log p(x|z) in nats, summed over the places.

        Args:
            x: whole numbers in 0..K-1, [T]; under a grammar a whole derivation with its padding.
            parameters: logits, [T, K]; those of rules that are not allowed do not matter.

        Raises:
            ArgumentError: if the shapes do not fit.
        """
        allowed, parameters = self._allowed(x, parameters), wide(parameters)
        chosen = jnp.take_along_axis(parameters, x[..., None], axis=-1)[..., 0]
        return jnp.sum(chosen - jax.nn.logsumexp(parameters, axis=-1, where=allowed))

    def mean(self, parameters: Array) -> Array:
        """Returns the probabilities, [..., K].

        Raises:
            NotImplementedError: under a grammar, where a place depends on those before it.
        """
        self._require_independence("mean; use `mode`")
        return rounded_like(jax.nn.softmax(wide(parameters)), parameters)

    def mode(self, parameters: Array) -> Array:
        """Returns the likeliest rule at each place given those before it, [T]: a whole sentence."""
        if self.tables is None:
            return jnp.argmax(parameters, axis=-1).astype(jnp.int32)
        return self.tables.derive(parameters)

    def sample(self, rng: Array, parameters: Array) -> Array:
        """Draws x, [T]: a whole sentence."""
        return self.mode(parameters + self.noise(rng, parameters))

    def noise(self, rng: Array, parameters: Array) -> Array:
        """Draws Gumbel noise shaped like the parameters; the mode of their sum is a draw of x."""
        return jax.random.gumbel(rng, parameters.shape, wide_dtype(parameters))

    def location(self, parameters: Array) -> Array:
        """Returns the logits, which are what `fisher` and `information` refer to."""
        return parameters

    def fisher(self, parameters: Array) -> Array:
        """Returns the diagonal Fisher information of the logits, p (1 - p), [..., K].

        Raises:
            NotImplementedError: under a grammar, where p depends on the sentence.
        """
        self._require_independence("Fisher information without an x; use `information`")
        p = jax.nn.softmax(wide(parameters))
        return p * (1.0 - p)

    def information(self, x: Array, parameters: Array, tangent: Array) -> Array:
        """Returns minus the second derivative of log p(x|z) along a direction of the logits.

        sum_t Var_{k ~ p_t}(tangent_t[k]),   p_t over the rules that place t allows

        It depends on x only through the rules that are allowed: it is the Fisher information of
        each place's choice, given the places before.

        Args:
            x: an example as in `log_prob`, [T].
            parameters: logits, [T, K].
            tangent: the direction, [T, K].

        Returns:
            A scalar, in nats per squared unit step along the direction.

        Raises:
            ArgumentError: if the shapes do not fit.
        """
        check_shape("the tangent", tangent, parameters.shape, ", as the logits have")
        allowed = self._allowed(x, parameters)
        parameters, tangent = wide((parameters, tangent))
        p = jax.nn.softmax(parameters, where=allowed)
        centered = tangent - jnp.sum(p * tangent, axis=-1, keepdims=True)
        return jnp.sum(p * jnp.square(centered))

    def _allowed(self, x: Array, logits: Array) -> Array | None:
        """Returns which rules are allowed, bools [T, K]; None if all are."""
        places = shape_of("the logits", logits)[:-1]
        check_shape("x", x, places, ", a rule for each place of the logits")
        if self.tables is None:
            return None
        expected = (*x.shape, len(self.tables.left))
        check_shape("the logits", logits, expected, ", one for each rule of the grammar")
        return self.tables.allowed(x)

    def _require_independence(self, what: str) -> None:
        if self.tables is not None:
            raise NotImplementedError(f"a sentence of a grammar has no {what}")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sequence:
    """Rules as in `Categorical`, and a Gaussian value at some places   (FLOW Section 4).

    log p(x|z) = log p(rules|z) + sum_{t holds a value} log N(x_t1; v_t, variance)

    x is float [T, 2], with the rules in column 0; `parameters` is the pair (logits [T, K], values v
    [T]). A place holds a value if its rule adds symbols that need further rules, as the rule of a
    layer adds the layers after it. The rule that ends a sequence and the padding add none.

    Attributes:
        tables: which rules the grammar allows at each place.
        variance: the variance of a value, a positive scalar.
    """

    tables: RuleTables = dataclasses.field(metadata={"static": True})
    variance: Array | float

    def log_prob(self, x: Array, parameters: tuple[Array, Array]) -> Array:
        """Returns log p(x|z) in nats, summed over the places, for x [T, 2].

        Raises:
            ArgumentError: if the shapes do not fit.
        """
        rules, x = self._rules(x, parameters), wide(x)
        logits, values = wide(tuple(parameters))
        check_scalar("variance", self.variance)
        holds = self.tables.brings_on(rules)
        values = jnp.where(holds, values, x[:, 1])
        densities = jax.vmap(gaussian_log_prob, (0, 0, None))(x[:, 1], values, self.variance)
        of_values = jnp.sum(jnp.where(holds, densities, 0.0))
        return self._categorical.log_prob(rules, logits) + of_values

    def mean(self, parameters: tuple[Array, Array]) -> Array:
        """Raises an error, because a sequence has no mean.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a sequence has no mean; use `mode`")

    def mode(self, parameters: tuple[Array, Array]) -> Array:
        """Returns the likeliest rule at each place given those before it, and its value, [T, 2]."""
        logits, values = parameters
        return self._joined(self._categorical.mode(logits), values)

    def sample(self, rng: Array, parameters: tuple[Array, Array]) -> Array:
        """Draws x, [T, 2]."""
        return self.mode(jax.tree.map(jnp.add, parameters, self.noise(rng, parameters)))

    def noise(self, rng: Array, parameters: tuple[Array, Array]) -> tuple[Array, Array]:
        """Draws noise shaped like the parameters; the mode of their sum is a draw of x."""
        logits, values = parameters
        rules_rng, values_rng = jax.random.split(rng)
        of_values = normal_like(values_rng, values)
        of_rules = self._categorical.noise(rules_rng, logits)
        return of_rules, jnp.sqrt(wide(self.variance)) * of_values

    def location(self, parameters: tuple[Array, Array]) -> tuple[Array, Array]:
        """Returns logits and values, which are what `information` refers to."""
        return parameters

    def fisher(self, parameters: tuple[Array, Array]) -> Array:
        """Raises an error, because it depends on the sequence; see `information`.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "a sequence has no Fisher information without an x; use `information`"
        )

    def information(
        self, x: Array, parameters: tuple[Array, Array], tangent: tuple[Array, Array]
    ) -> Array:
        """Returns minus the second derivative of log p(x|z) along a direction, a scalar.

        It is that of the rules, plus tangent^2 / variance summed over the places with a value.

        Args:
            x: an example, [T, 2].
            parameters: logits [T, K] and values [T].
            tangent: the direction, shaped like the parameters.

        Raises:
            ArgumentError: if the shapes do not fit.
        """
        rules = self._rules(x, parameters)
        check_pair("the tangent", tangent, "(logits, values)")
        expected = parameters[1].shape
        check_shape("the tangent's values", tangent[1], expected, ", as the values have")
        check_scalar("variance", self.variance)
        check_positive("variance", self.variance)
        change = jnp.where(self.tables.brings_on(rules), wide(tangent[1]), 0.0)
        of_rules = self._categorical.information(rules, parameters[0], tangent[0])
        return of_rules + jnp.sum(jnp.square(change)) / wide(self.variance)

    @property
    def _categorical(self) -> Categorical:
        return Categorical(self.tables)

    def _rules(self, x: Array, parameters: tuple[Array, Array]) -> Array:
        check_pair("parameters", parameters, "(logits, values)")
        check_shape("x", x, (*parameters[1].shape, 2), ", a rule and a value for each place")
        check_tells_apart("x", x, len(self.tables.left), "rules")
        return x[:, 0].astype(jnp.int32)

    def _joined(self, rules: Array, values: Array) -> Array:
        values = jnp.where(self.tables.brings_on(rules), wide(values), 0.0)
        return jnp.stack([rules.astype(values.dtype), values], axis=1)


def _build_categorical(settings: Settings, language: Language | None) -> Categorical:
    del settings
    assert language is not None
    return Categorical(language.tables)


def _build_sequence(settings: Settings, language: Language | None) -> Sequence:
    assert language is not None
    return Sequence(language.tables, settings.variance)


CATEGORICAL = LikelihoodSpec(
    name="categorical",
    summary="sequences without values: a softmax over the rules that are allowed at each place",
    build=_build_categorical,
    has_information=True,
    of_sequences=True,
)
SEQUENCE = LikelihoodSpec(
    name="sequence",
    summary="sequences with values: rules as for categorical, and a Gaussian of each value",
    build=_build_sequence,
    has_information=True,
    of_sequences=True,
    has_values=True,
    loss_scales=("variance",),
    options=("variance",),
)
