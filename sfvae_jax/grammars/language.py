"""What the sequences of a data set are made of, and what they say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sfvae_jax.grammars.grammar import Grammar, ParseError
from sfvae_jax.grammars.tables import RuleTables, rule_tables


@dataclasses.dataclass(frozen=True, eq=False)
class Language:
    """Sequences of one length, each a derivation of a grammar and padding.

    An example is `rules` [T] of whole numbers; with values it is float32 [T, 2], rules first.

    Attributes:
        kind: "equations", "molecules" or "architectures".
        grammar: of the sequences: that of the kind, or one that allows any characters or layers.
        num_places: T.
        has_values: whether every place has a number besides its rule.
    """

    kind: str
    grammar: Grammar
    num_places: int
    has_values: bool = False

    @property
    def tables(self) -> RuleTables:
        """What the grammar allows at each place."""
        return rule_tables(self.grammar)

    def encode(self, text: str) -> np.ndarray:
        """The example [T] that a text is.

        Raises:
            ParseError: if it is no sentence of the grammar.
            TooLong: if it takes more than T rules.
        """
        rules = self.grammar.parse(text)
        if len(rules) > self.num_places:
            raise TooLong(len(rules), self.num_places)
        example = np.full(self.num_places, self.grammar.padding, np.int16)
        example[: len(rules)] = rules
        return example

    def write(self, example: Sequence[int] | np.ndarray) -> str:
        """The text of an example; layers are written with their values, as type(value)."""
        example = np.asarray(example)
        if not self.has_values:
            return self.grammar.write(example)
        layers = self.grammar.write(example[:, 0].astype(int)).split(self.grammar.separator)
        pairs = zip(filter(None, layers), example[:, 1], strict=False)
        return self.grammar.separator.join(f"{layer}({value:.3g})" for layer, value in pairs)


class TooLong(ValueError):
    """A sequence of more rules than there are places."""

    def __init__(self, length: int, most: int) -> None:
        super().__init__(f"it takes {length} rules, more than the {most} places")
        self.length, self.most = length, most


def sequence_grammar(tokens: Sequence[str], *, separator: str = "", ignored: str = "") -> Grammar:
    """The grammar of all sequences of these tokens: one rule a token, and a last one that ends.

    A sequence of n tokens is one of n + 1 rules. It is the grammar of a model that knows none.

    Raises:
        ValueError: if a token is empty, occurs twice or has a separator or a double quote in it.
    """
    for token in tokens:
        if not token or '"' in token or (separator and separator in token):
            raise ValueError(f"{token!r} is no token: empty, or with a quote or separator in it")
    if len(set(tokens)) < len(tokens):
        raise ValueError("a token occurs twice")
    lines = [f's -> "{token}" s' for token in tokens]
    return Grammar("\n".join([*lines, "s -> "]), separator=separator, ignored=ignored)


__all__ = ["Language", "ParseError", "TooLong", "sequence_grammar"]
