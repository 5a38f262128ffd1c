"""Grammars as arrays, which tell the rules that each place allows and decode logits."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.grammars.grammar import Grammar
from sfvae_jax.objectives.numerics.checks import check_shape, check_vector, shape_of


class Derivation(NamedTuple):
    """An unfinished derivation, in which only the first places are decided.

    Attributes:
        stack: the symbols that must still be replaced, [T + R]. They are the first `depth` entries,
            of which the last is the leftmost symbol; the other entries do not matter.
        depth: the number of these symbols.
        needed: the smallest number of rules that replaces them all.
        places: the number of places that are not decided yet.
    """

    stack: Array
    depth: Array
    needed: Array
    places: Array


@dataclasses.dataclass(frozen=True, eq=False)  # tables are equal only if they are the same object
class RuleTables:
    """A grammar's rules as arrays, for sequences [T] of rule indices with padding at the end.

    A place allows only rules of the leftmost symbol after which the derivation can still end within
    the sequence. Any choice among the allowed rules leads to a whole sentence, and every sentence
    with at most T rules can be reached.

    Attributes:
        left: the symbol that each index replaces, [K]; the last index, the padding, replaces a
            symbol of its own.
        right: the symbols that each index replaces `left` by, [K, R], the rightmost first; the
            rest of a row is -1.
        least: the smallest number of rules that finishes each symbol, [N + 1]; it is 0 for the
            padding's symbol.
        needed: the smallest number of rules that finishes the symbols in `right`, [K].
        start: the start symbol.
    """

    left: np.ndarray
    right: np.ndarray
    least: np.ndarray
    needed: np.ndarray
    start: int

    def allowed(self, x: Array) -> Array:
        """Returns which indices each place of a derivation allows, bools [T, K].

        Args:
            x: a whole derivation with its padding, [T].
        """
        check_vector("x", x)
        least = jnp.asarray(self.least)
        replaced = jnp.asarray(self.left)[x]  # [T]
        change = jnp.asarray(self.needed)[x] - least[replaced]
        needed = (
            self.least[self.start] + jnp.cumsum(change) - change
        )  # rules needed from each place
        rest = needed - least[replaced]
        places = jnp.arange(len(x), 0, -1)  # places left
        return jax.vmap(self._allowed)(replaced, rest, places)

    def derive(self, logits: Array) -> Array:
        """Returns the derivation that takes the likeliest allowed index at each place.

        Places are decided from the first to the last; the earlier places determine what each one
        allows. If Gumbel noise is added to the logits, the derivation is a sample: each index is
        drawn from the softmax over the allowed ones.

        Args:
            logits: [T, K].

        Returns:
            A whole derivation [T], with padding at the end.

        Raises:
            ValueError: if every sentence has more than T rules.
        """
        num_places = shape_of("logits", logits)[0]
        check_shape("logits", logits, (num_places, len(self.left)), ", one for each rule")
        return jax.lax.scan(self.choose, self.begin(num_places), logits)[1]

    def begin(self, num_places: int) -> Derivation:
        """Returns a derivation with T places, none of which is decided.

        Raises:
            ValueError: if every sentence has more than T rules.
        """
        least = self.least[self.start]
        if least > num_places:
            raise ValueError(
                f"the shortest sentence takes {least} rules, but num_places is {num_places}"
            )
        # Each symbol on the stack needs a rule, so the stack never holds more than T symbols.
        stack = jnp.zeros(num_places + self.right.shape[1], jnp.int32).at[0].set(self.start)
        return Derivation(stack, jnp.int32(1), jnp.int32(least), jnp.int32(num_places))

    def choose(self, derivation: Derivation, logits: Array) -> tuple[Derivation, Array]:
        """Decides the next place of a derivation, as the allowed index with the largest logit.

        Args:
            derivation: the derivation up to this place.
            logits: [K].

        Returns:
            The derivation with this place decided, and the index there, an int32 scalar.
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

    def brings_on(self, x: Array | np.ndarray) -> Array:
        """Returns whether other rules must follow each index, bools shaped like x.

        In a `sequence_grammar` this holds for tokens, but not for the end or the padding.
        """
        return jnp.asarray(self.needed)[x] > 0

    def _allowed(self, symbol: Array, rest: Array, places: Array) -> Array:
        """Returns which rules of a symbol leave enough places to finish the rest, bools [K]."""
        fits = (1 + rest + self.needed <= places) | (symbol == self._nothing)
        return (self.left == symbol) & fits

    @property
    def _nothing(self) -> int:
        """The symbol that the padding replaces."""
        return len(self.least) - 1


@functools.cache  # one object for each grammar, so that JAX reuses functions compiled with it
def rule_tables(grammar: Grammar) -> RuleTables:
    """Returns the tables of a grammar.

    Raises:
        ValueError: if no derivation from one of its symbols ever ends.
    """
    index = {symbol: i for i, symbol in enumerate(grammar.symbols)}
    width = max(1, *(len(rule.symbols) for rule in grammar.rules))
    right = np.full((grammar.size, width), -1, np.int32)
    for i, rule in enumerate(grammar.rules):
        # The rightmost symbol comes first, so that the leftmost one is pushed last.
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
    """Returns the smallest number of rules that finishes each symbol, by relaxation."""
    least: dict[str, int] = {}
    for _ in grammar.symbols:
        for rule in grammar.rules:
            if all(symbol in least for symbol in rule.symbols):
                count = 1 + sum(least[symbol] for symbol in rule.symbols)
                least[rule.left] = min(count, least.get(rule.left, count))
    endless = [symbol for symbol in grammar.symbols if symbol not in least]
    if endless:
        raise ValueError(
            f"no derivation of {', '.join(endless)} ever ends; give each symbol a rule that leads"
            " to an end"
        )
    return {symbol: least[symbol] for symbol in grammar.symbols}
