"""Arithmetic expressions: drawn from their grammar, or those of a file."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import ml_collections
import numpy as np

from sfvae_jax.data.sequences.kind import Curves, Score, SequenceKind
from sfvae_jax.data.sequences.text import TEXT_OPTIONS, TextFormat, open_text, text_language
from sfvae_jax.data.source import DataSource, SourceSplit
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import EXPRESSIONS, Language, Sentences, arithmetic

# Those of the longest expressions of GrammarVAE's data, without spaces.
_MOST_RULES, _MOST_CHARACTERS = 15, 19
_NUM_EQUATIONS = {"test": 10_000, "train": 90_000}
_SEED = 1
_LINES = TextFormat("equations", "expressions")


class DrawnEquations(SourceSplit):
    """One split of the drawn expressions, written in a language."""

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
            # The same as `language.encode`, without its parser: rule i stands for character i.
            text = EXPRESSIONS.write(rules).replace(EXPRESSIONS.separator, "")
            rules = [*(self._indices[character] for character in text), len(self._indices)]
        example = np.full(self._language.num_places, grammar.padding, np.int16)
        example[: len(rules)] = rules
        return example


def open_drawn_equations(language: Language) -> Mapping[str, DrawnEquations]:
    """Returns 100,000 different expressions, 90,000 to train on and 10,000 to test.

    They are drawn uniformly, without repetition, from the sentences with at most 15 rules and 19
    characters. 199,941,076 sentences have at most 15 rules, and 94% of these at most 19 characters.
    Nineteen in twenty of the drawn ones take 14 rules; none takes more.

    Args:
        language: a language of expressions, in rules or in characters.

    Raises:
        UsageError: if its sequences have too few places for the expressions.
    """
    of_rules = language.grammar is EXPRESSIONS
    longest = _MOST_RULES if of_rules else _MOST_CHARACTERS + 1
    if language.num_places < longest:
        raise UsageError(
            f"data.max_length is {language.num_places}, but drawn equations take up to {longest}"
            f" places; set it to {longest} or more, or to 0"
        )
    ends = np.cumsum(list(_NUM_EQUATIONS.values()))[:-1]
    splits = zip(_NUM_EQUATIONS, np.split(_draw(), ends), strict=True)
    return {split: DrawnEquations(derivations, language) for split, derivations in splits}


@functools.cache  # every split of the data set asks for it
def _draw() -> np.ndarray:
    """Returns different derivations [100000, 15], the same on every machine."""
    sentences = Sentences(EXPRESSIONS, _MOST_RULES)
    number = sum(_NUM_EQUATIONS.values())
    # The raw words of a bit generator never change, but the methods of a Generator may. A tenth
    # more are drawn than are needed: 6% are too long, and 0.03% have been drawn before.
    words = np.random.PCG64(_SEED).random_raw(number + number // 10)
    ranks = (words % np.uint64(sentences.total)).astype(np.int64)
    _, first = np.unique(ranks, return_index=True)
    derivations = sentences.derivations(ranks[np.sort(first)])
    short = derivations[_num_characters(derivations) <= _MOST_CHARACTERS]
    return short[:number]


def _num_characters(derivations: np.ndarray) -> np.ndarray:
    """Returns the number of characters of each expression without spaces, [N]."""
    brought = [
        sum(len(part.strip('"')) for part in rule.right if part not in rule.symbols)
        for rule in EXPRESSIONS.rules
    ]
    return np.array([*brought, 0])[derivations].sum(axis=1)


def _language(group: ml_collections.ConfigDict) -> Language:
    return text_language("equations", EXPRESSIONS, group, _MOST_RULES, _MOST_CHARACTERS)


EQUATIONS = SequenceKind(
    "equations",
    "expression",
    _language,
    is_valid=arithmetic.is_expression,
    score=Score(
        "log(1 + MSE)",
        "less",
        lambda training: arithmetic.expression_score,
        worst=arithmetic.WORST_SCORE,
    ),
    drawing=Curves(arithmetic.evaluate_expression, arithmetic.LIMIT, arithmetic.TARGET),
)
SOURCES = (
    DataSource(
        "equations",
        "100,000 arithmetic expressions, drawn from a grammar",
        lambda group, _: open_drawn_equations(_language(group)),
        kind=EQUATIONS,
        options=TEXT_OPTIONS,
        splits=("train", "test"),
    ),
    DataSource(
        "equations:",
        "a text file of arithmetic expressions, one per line",
        lambda group, path: open_text(
            path, _language(group), _LINES, skip_corrupt=group.skip_corrupt
        ),
        kind=EQUATIONS,
        options=TEXT_OPTIONS,
        splits=("train",),
        held_out_by="the expression without white space",
    ),
)
