"""Arithmetic expressions drawn from their grammar."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from sfvae_jax.data.source import SourceSplit
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import EXPRESSIONS, Language, Sentences

MOST_RULES = 15
MOST_CHARACTERS = 19
"""The longest expressions of GrammarVAE's data, without spaces."""

_NUM_EQUATIONS = {"test": 10_000, "train": 90_000}
_SEED = 1


class DrawnEquations(SourceSplit):
    """One split of the drawn expressions, as examples of a language."""

    def __init__(self, derivations: np.ndarray, language: Language) -> None:
        self._derivations, self._language = derivations, language
        tokens = language.grammar.terminals
        self._indices = {token: index for index, token in enumerate(tokens)}
        self.example_shapes = frozenset([(language.num_places,)])
        self.dtype = np.dtype(np.int16)

    def __len__(self) -> int:
        return len(self._derivations)

    def __getitem__(self, index: int) -> np.ndarray:
        rules = self._derivations[index]
        grammar = self._language.grammar
        if grammar is not EXPRESSIONS:
            # What `language.encode` gives, without its parser: rule i stands for character i.
            text = EXPRESSIONS.write(rules).replace(EXPRESSIONS.separator, "")
            rules = [*(self._indices[character] for character in text), len(self._indices)]
        example = np.full(self._language.num_places, grammar.padding, np.int16)
        example[: len(rules)] = rules
        return example


def open_drawn_equations(language: Language) -> Mapping[str, DrawnEquations]:
    """100,000 different expressions of the grammar, 90,000 to train on and 10,000 to test.

    Drawn uniformly, none twice, from the 199,941,076 sentences of at most 15 rules, less the 6%
    of more than 19 characters. Of these nineteen in twenty take 14 rules, the most that any does.

    Args:
        language: of expressions, their rules or their characters.

    Raises:
        UsageError: if it has fewer places than they take.
    """
    of_rules = language.grammar is EXPRESSIONS
    longest = MOST_RULES if of_rules else MOST_CHARACTERS + 1
    if language.num_places < longest:
        raise UsageError(
            f"data.max_length={language.num_places}: drawn equations take up to {longest} places;"
            f" give {longest} or more, or 0"
        )
    ends = np.cumsum(list(_NUM_EQUATIONS.values()))[:-1]
    splits = zip(_NUM_EQUATIONS, np.split(_draw(), ends), strict=True)
    return {split: DrawnEquations(derivations, language) for split, derivations in splits}


@functools.cache  # every part of the data set asks for it
def _draw() -> np.ndarray:
    """Derivations [100000, 15], none twice; the same on every machine."""
    sentences = Sentences(EXPRESSIONS, MOST_RULES)
    number = sum(_NUM_EQUATIONS.values())
    # Raw words of a bit generator never change; the methods of a Generator may. A tenth more than
    # are needed, of which 6% are too long and 0.03% drawn before.
    words = np.random.PCG64(_SEED).random_raw(number + number // 10)
    ranks = (words % np.uint64(sentences.total)).astype(np.int64)
    _, first = np.unique(ranks, return_index=True)
    derivations = sentences.derivations(ranks[np.sort(first)])
    short = derivations[_num_characters(derivations) <= MOST_CHARACTERS]
    return short[:number]


def _num_characters(derivations: np.ndarray) -> np.ndarray:
    """The characters of each expression without spaces, [N]."""
    brought = [
        sum(len(part.strip('"')) for part in rule.right if part not in rule.symbols)
        for rule in EXPRESSIONS.rules
    ]
    return np.array([*brought, 0])[derivations].sum(axis=1)
