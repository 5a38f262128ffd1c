"""What a grammar allows at each place of a sequence of rules, as arrays: masks and decoding."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.objectives.numerics.checks import check_shape, check_vector, shape_of

if TYPE_CHECKING:
    from sfvae_jax.grammars.grammar import Grammar


class Derivation(NamedTuple):
    """What is open of a derivation whose first places are decided.

    Attributes:
        stack: symbols to be replaced, the leftmost last, then whatever; [T + R].
        depth: how many these are.
        needed: fewest rules that finish them.
        places: that are not decided.
    """

    stack: Array
    depth: Array
    needed: Array
    places: Array


@dataclasses.dataclass(frozen=True, eq=False)  # equal if it is the same one
class RuleTables:
    """A grammar's rules as arrays, for sequences [T] of rule indices, padding at the end.

    At each place only rules of the leftmost symbol are allowed, and of these only such that the
    derivation can still be finished by the end of the sequence. All sentences of at most T rules
    can be reached, and nothing else: any choice among what is allowed is a whole sentence.

    Attributes:
        left: symbol that each index replaces, [K]; of the padding, the last, a symbol of its own.
        right: symbols that it brings, rightmost first, -1 for none, [K, R].
        least: fewest rules that finish each symbol, [N + 1]; 0 for the padding's.
        needed: fewest rules that finish what an index brings, [K].
        start: the start symbol.
    """

    left: np.ndarray
    right: np.ndarray
    least: np.ndarray
    needed: np.ndarray
    start: int

    def allowed(self, x: Array) -> Array:
        """Which indices could have stood at each place of a derivation, [T, K] of bools.

        Args:
            x: whole derivation with its padding, [T].
        """
        check_vector("x", x)
        least = jnp.asarray(self.least)
        replaced = jnp.asarray(self.left)[x]  # [T]
        change = jnp.asarray(self.needed)[x] - least[replaced]
        needed = self.least[self.start] + jnp.cumsum(change) - change  # rules still, at each place
        rest = needed - least[replaced]
        places = jnp.arange(len(x), 0, -1)  # from each on
        return jax.vmap(self._allowed)(replaced, rest, places)

    def derive(self, logits: Array) -> Array:
        """A whole derivation from logits of its places: of what each allows the likeliest.

        Places are decided from the first to the last; what each allows follows from those before.
        With Gumbel noise on the logits it is a sample of their softmax over what is allowed.

        Args:
            logits: [T, K].

        Returns:
            [T], padding at the end.

        Raises:
            ValueError: if no sentence is as short as T rules.
        """
        num_places = shape_of("logits", logits)[0]
        check_shape("logits", logits, (num_places, len(self.left)), ", one for each rule")
        return jax.lax.scan(self.choose, self.begin(num_places), logits)[1]

    def begin(self, num_places: int) -> Derivation:
        """A derivation of T places of which none is decided.

        Raises:
            ValueError: if no sentence is as short as T rules.
        """
        least = self.least[self.start]
        if least > num_places:
            raise ValueError(
                f"the shortest sentence takes {least} rules, more than the {num_places} places"
            )
        # Each symbol on the stack needs a rule, so that no more than T can lie there.
        stack = jnp.zeros(num_places + self.right.shape[1], jnp.int32).at[0].set(self.start)
        return Derivation(stack, jnp.int32(1), jnp.int32(least), jnp.int32(num_places))

    def choose(self, derivation: Derivation, logits: Array) -> tuple[Derivation, Array]:
        """The next place of a derivation: of the allowed indices that of the greatest logit.

        With Gumbel noise on the logits it is a sample of their softmax over what is allowed.

        Args:
            derivation: of the places before.
            logits: [K].

        Returns:
            The derivation with this place, and the index there, an int32 scalar.
        """
        stack, depth, needed, places = derivation
        right, least, all_needed = map(jnp.asarray, (self.right, self.least, self.needed))
        below = jnp.maximum(depth - 1, 0)
        symbol = jnp.where(depth > 0, stack[below], self._nothing)
        rest = needed - least[symbol]
        allowed = self._allowed(symbol, rest, places)
        choice = jnp.argmax(jnp.where(allowed, logits, -jnp.inf)).astype(jnp.int32)
        brought = right[choice]  # [R]
        stack = jax.lax.dynamic_update_slice(stack, brought, (below,))
        depth = below + jnp.sum(brought >= 0, dtype=jnp.int32)
        return Derivation(stack, depth, rest + all_needed[choice], places - 1), choice

    def brings_on(self, x: Array) -> Array:
        """Whether other rules must follow for what an index brings, bools shaped like x.

        Of the sequences of `sequence_grammar`: whether there is a token, no end and no padding.
        """
        return jnp.asarray(self.needed)[x] > 0

    def _allowed(self, symbol: Array, rest: Array, places: Array) -> Array:
        """[K]: rules of a symbol after which what is open fits in the places from here on."""
        fits = (1 + rest + self.needed <= places) | (symbol == self._nothing)
        return (self.left == symbol) & fits

    @property
    def _nothing(self) -> int:
        """The symbol that padding replaces."""
        return len(self.least) - 1


@functools.cache  # one object a grammar, so that what is compiled with it is found again
def rule_tables(grammar: Grammar) -> RuleTables:
    """The tables of a grammar.

    Raises:
        ValueError: if one of its symbols can never be finished.
    """
    index = {symbol: i for i, symbol in enumerate(grammar.symbols)}
    width = max(1, *(len(rule.symbols) for rule in grammar.rules))
    right = np.full((grammar.size, width), -1, np.int32)
    for i, rule in enumerate(grammar.rules):
        # Rightmost first: the last one pushed is the leftmost.
        right[i, : len(rule.symbols)] = [index[symbol] for symbol in rule.symbols][::-1]
    least = _least_rules(grammar)
    needed = [sum(least[symbol] for symbol in rule.symbols) for rule in grammar.rules]
    return RuleTables(
        left=np.array([index[rule.left] for rule in grammar.rules] + [len(index)], np.int32),
        right=right,
        least=np.array([*least.values(), 0], np.int32),
        needed=np.array([*needed, 0], np.int32),
        start=index[grammar.start],
    )


def _least_rules(grammar: Grammar) -> dict[str, int]:
    """Fewest rules that finish each symbol, by relaxation."""
    least: dict[str, int] = {}
    for _ in grammar.symbols:
        for rule in grammar.rules:
            if all(symbol in least for symbol in rule.symbols):
                count = 1 + sum(least[symbol] for symbol in rule.symbols)
                least[rule.left] = min(count, least.get(rule.left, count))
    endless = [symbol for symbol in grammar.symbols if symbol not in least]
    if endless:
        raise ValueError(f"no derivation ever finishes {', '.join(endless)}")
    return {symbol: least[symbol] for symbol in grammar.symbols}
