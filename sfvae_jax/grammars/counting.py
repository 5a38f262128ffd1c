"""Counts the sentences of a grammar and finds the n-th sentence, for exactly uniform draws."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from sfvae_jax.grammars.grammar import Grammar

_Symbols = tuple[str, ...]
_Way = list[tuple[_Symbols, int]]  # symbols, with the number of rules that finish them


class Sentences:
    """All derivations with at most a given number of rules, in a fixed order, shortest first.

    An unambiguous grammar has exactly one derivation for each sentence. Let N(w, n) be the number
    of ways to finish the symbols w with n rules. Then N(a, n) is the sum of N(right, n - 1) over
    the rules of a symbol a, and N(a w, n) is the sum of N(a, k) N(w, n - k) over k. The same sums
    split the rank of a derivation into the ranks of its parts.
    """

    def __init__(self, grammar: Grammar, most: int) -> None:
        """Stores the arguments; the counting happens on demand.

        Args:
            grammar: the grammar.
            most: the largest number of rules of a derivation.
        """
        self._grammar, self._most = grammar, most
        self._count = functools.cache(self._count_once)

    def count(self, length: int) -> int:
        """Returns the number of derivations with exactly `length` rules."""
        return self._count((self._grammar.start,), length)

    @property
    def total(self) -> int:
        """The number of all derivations."""
        return sum(self.count(length) for length in range(self._most + 1))

    def derivations(self, ranks: np.ndarray) -> np.ndarray:
        """Returns the derivations with these ranks, int16 [N, most], with padding at the end.

        Args:
            ranks: whole numbers from 0 to total - 1, [N].

        Raises:
            ValueError: if there are more derivations than 64 bits can number.
        """
        if self.total >= 2**63:
            raise ValueError(
                f"{self.total} derivations cannot be numbered with 64 bits; lower the number of"
                " rules"
            )
        found = np.full((len(ranks), self._most), self._grammar.padding, np.int16)
        # pending[n][symbols] lists the parts that these symbols must still derive with n rules: the
        # examples, the first place of each part, and its rank among the N(symbols, n) ways. All
        # examples advance together.
        pending: list[dict] = [defaultdict(list) for _ in range(self._most + 1)]
        start: _Symbols = (self._grammar.start,)
        lengths: list[_Way] = [[(start, n)] for n in range(self._most + 1)]
        which, ranks = self._choose(lengths, np.asarray(ranks, np.int64))
        for n in range(self._most + 1):
            chosen = np.flatnonzero(which == n)
            pending[n][start].append((chosen, np.zeros(len(chosen), np.int64), ranks[chosen]))
        for n in range(self._most, 0, -1):
            for symbols, parts in pending[n].items():
                state = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
                for rest, length, part in self._steps(symbols, n, state, found):
                    pending[length][rest].append(part)
        return found

    def _steps(
        self, symbols: _Symbols, n: int, state: tuple[np.ndarray, ...], found: np.ndarray
    ) -> Iterator[tuple[_Symbols, int, tuple[np.ndarray, ...]]]:
        """Splits several symbols, or writes the rule of a single one; yields the parts left."""
        examples, places, ranks = state
        if len(symbols) == 1:
            rules = [i for i, r in enumerate(self._grammar.rules) if r.left == symbols[0]]
            ways = [[(self._grammar.rules[i].symbols, n - 1)] for i in rules]
            which, ranks = self._choose(ways, ranks)
            found[examples, places] = np.array(rules, np.int16)[which]
            places = places + 1
        else:
            ways = [[(symbols[:1], k), (symbols[1:], n - k)] for k in range(1, n)]
            which, ranks = self._choose(ways, ranks)
        for i in np.unique(which):
            chosen = which == i
            rank, place = ranks[chosen], places[chosen]
            for symbols, length in ways[i]:
                rank, own = np.divmod(rank, self._count(symbols, length))
                yield symbols, length, (examples[chosen], place, own)
                place = place + length

    def _choose(self, ways: list[_Way], ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the index of the way that each rank belongs to, and the rank within that way."""
        counts = [math.prod(self._count(*part) for part in way) for way in ways]
        ends = np.cumsum(counts, dtype=np.int64)
        which = np.searchsorted(ends, ranks, side="right")
        return which, ranks - (ends - counts)[which]

    def _count_once(self, symbols: _Symbols, n: int) -> int:
        if n < len(symbols) or not symbols:
            return int(n == 0 and not symbols)
        if len(symbols) == 1:
            rules = (rule for rule in self._grammar.rules if rule.left == symbols[0])
            return sum(self._count(rule.symbols, n - 1) for rule in rules)
        return sum(
            self._count(symbols[:1], k) * self._count(symbols[1:], n - k) for k in range(1, n)
        )
