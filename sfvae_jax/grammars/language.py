"""Languages: what the sequences of a data set are made of, and what they say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from sfvae_jax.grammars.grammar import Grammar, ParseError
from sfvae_jax.grammars.tables import RuleTables, rule_tables


@dataclasses.dataclass(frozen=True, eq=False)
class Language:
    """Sequences with T places, each a derivation of a grammar followed by padding.

    An example is an array [T] of rules, whole numbers. In a language with values it is float32
    [T, 2], with the rules in column 0 and the values in column 1.

    Attributes:
        kind: the name of the kind of sequences, such as "equations".
        grammar: the grammar of the sequences; one of all strings of characters or layers if the
            model is to know no other.
        num_places: T.
        has_values: whether every place has a value besides its rule.
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
        """Returns the rules [T] of a text without values, whole numbers.

        Raises:
            ParseError: if the text is not a sentence of the grammar.
            TooLong: if the sentence takes more than T rules.
        """
        rules = self.grammar.parse(text)
        if len(rules) > self.num_places:
            raise TooLong(len(rules), self.num_places)
        example = np.full(self.num_places, self.grammar.padding, np.int16)
        example[: len(rules)] = rules
        return example

    def read(self, text: str) -> np.ndarray:
        """Returns the example, [T] or with values [T, 2], that `write` writes as this text.

        Raises:
            ParseError: if the text is not a sentence of the grammar, or a value is missing.
            TooLong: if the sentence takes more than T rules.
        """
        if not self.has_values:
            return self.encode(text)
        terminals, values = _without_values(text, self.grammar.separator)
        rules = self.encode(terminals)
        column = np.zeros(self.num_places, np.float32)
        column[: len(values)] = values
        return np.stack([rules.astype(np.float32), column], axis=1)

    def write(self, example: Sequence[int] | np.ndarray) -> str:
        """Returns the text of an example; with values, a terminal is written as terminal(value)."""
        example = np.asarray(example)
        if not self.has_values:
            return self.grammar.write(example)
        layers = self.grammar.write(example[:, 0].astype(int)).split(self.grammar.separator)
        pairs = zip(filter(None, layers), example[:, 1], strict=False)
        return self.grammar.separator.join(f"{layer}({value:.3g})" for layer, value in pairs)


def _without_values(text: str, separator: str) -> tuple[str, list[float]]:
    """Splits "a(0.5) b(2)" into "a b" and the values of its terminals.

    Raises:
        ParseError: at a terminal without a finite number in parentheses.
    """
    terminals, values, column = [], [], 1
    for part in text.split(separator):
        terminal, _, number = part.strip().rpartition("(")
        if part.strip():
            try:
                value = float(number.removesuffix(")"))
            except ValueError:
                value = math.nan
            if not terminal or not number.endswith(")") or not math.isfinite(value):
                raise ParseError(column, f"{part.strip()!r} is not a name with a value in ()")
            terminals.append(terminal)
            values.append(value)
        column += len(part) + len(separator)
    return separator.join(terminals), values


class TooLong(ValueError):
    """A sentence takes more rules than there are places."""

    def __init__(self, length: int, most: int) -> None:
        super().__init__(f"it takes {length} rules, more than the {most} places")
        self.length, self.most = length, most


def sequence_grammar(tokens: Sequence[str], *, separator: str = "", ignored: str = "") -> Grammar:
    """Returns the grammar of all sequences of tokens: a rule for each, and one for the end.

    A sequence of n tokens takes n + 1 rules. With the characters of a text as tokens it makes
    models that have no other grammar (CharacterVAE).

    Args:
        tokens: the terminals of the grammar.
        separator: the text between two tokens of a written sequence.
        ignored: text that may stand between tokens when a sequence is parsed; empty: that of
            `separator`.

    Raises:
        ValueError: if a token occurs twice, is empty, or contains the separator or a double quote.
    """
    for token in tokens:
        if not token or '"' in token or (separator and separator in token):
            raise ValueError(
                f"{token!r} cannot be a token: tokens must not be empty, and contain neither a"
                " double quote nor the separator"
            )
    if len(set(tokens)) < len(tokens):
        raise ValueError("a token occurs twice; give each token once")
    lines = [f's -> "{token}" s' for token in tokens]
    return Grammar("\n".join([*lines, "s -> "]), separator=separator, ignored=ignored)
