"""Context-free grammars, which turn text into the rules that derive it, and back."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import lark


class ParseError(ValueError):
    """A text is not a sentence of a grammar.

    Attributes:
        column: the column of the first character that is not allowed; columns count from 1.
        reason: what is wrong there.
    """

    def __init__(self, column: int, reason: str) -> None:
        super().__init__(f"column {column}: {reason}")
        self.column, self.reason = column, reason


@dataclasses.dataclass(frozen=True)
class Rule:
    """One production, left -> right.

    Attributes:
        left: the symbol that it replaces.
        right: the symbols and terminals that replace it, with terminals in double quotes; () if
            nothing replaces it.
    """

    left: str
    right: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.left} -> {' '.join(self.right)}"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the right side, without its terminals."""
        return tuple(symbol for symbol in self.right if not is_terminal(symbol))


def is_terminal(symbol: str) -> bool:
    """Returns whether an entry of a rule's right side is a terminal."""
    return symbol.startswith('"')


class Grammar:
    """A context-free grammar, whose sentences are sequences of the rules that derive them.

    A derivation always replaces the leftmost symbol. A sentence of an unambiguous grammar therefore
    has exactly one sequence of rules, and a stack of symbols determines which rules each place
    allows. The places after a whole derivation hold `padding`, an index that no rule has.

    Attributes:
        rules: all rules; a sequence refers to them by index.
        start: the symbol from which sentences are derived.
        separator: the text between two terminals of a written sentence.
        ignored: text that may stand between terminals when a sentence is parsed.
        symbols: all symbols with rules, in the order of their first rule.
    """

    def __init__(self, text: str, *, separator: str = "", ignored: str = "") -> None:
        """Reads a grammar from lines `left -> right | right`, with spaces between symbols.

        Args:
            text: the lines, with terminals in double quotes; the start symbol's rules come first.
            separator: the text between two terminals of a written sentence.
            ignored: text that may stand between terminals when a sentence is parsed; if it is
                empty, `separator` is used.

        Raises:
            ValueError: if a symbol has no rules.
        """
        lines = [line.split("->") for line in text.strip().splitlines()]
        self.rules = tuple(
            Rule(left.strip(), tuple(right.split()))
            for left, alternatives in lines
            for right in alternatives.split(" | ")
        )
        self.symbols = tuple(dict.fromkeys(rule.left for rule in self.rules))
        self.start, self.separator = self.symbols[0], separator
        self.ignored = ignored or separator
        for rule in self.rules:
            for symbol in rule.symbols:
                if symbol not in self.symbols:
                    raise ValueError(f"{rule}: {symbol} has no rules")

    @property
    def padding(self) -> int:
        """The index at the places after a whole derivation."""
        return len(self.rules)

    @property
    def size(self) -> int:
        """The number K of indices: one for each rule, and one for the padding."""
        return len(self.rules) + 1

    @property
    def terminals(self) -> tuple[str, ...]:
        """All different terminals without their quotes, in the order of the rules."""
        found = (symbol for rule in self.rules for symbol in rule.right if is_terminal(symbol))
        return tuple(dict.fromkeys(symbol[1:-1] for symbol in found))

    def parse(self, text: str) -> np.ndarray:
        """Returns the rules [n] that derive a sentence; each replaces the leftmost symbol.

        Raises:
            ParseError: if the text is not a sentence of the grammar.
        """
        import lark

        try:
            tree = self._parser.parse(text)
        except lark.UnexpectedCharacters as error:
            raise ParseError(error.column, f"unexpected {error.char!r}") from error
        except lark.UnexpectedToken as error:
            if error.token.type == "$END":
                raise ParseError(len(text) + 1, "unexpected end of the text") from error
            reason = f"unexpected {str(error.token)!r}"
            raise ParseError(error.token.column, reason) from error
        rules, pending = [], [tree]
        while pending:
            tree = pending.pop()
            rules.append(int(tree.data.removeprefix("rule_")))
            pending += [child for child in tree.children if isinstance(child, lark.Tree)][::-1]
        return np.array(rules, np.int32)

    def write(self, rules: Iterable[int]) -> str:
        """Returns the sentence that rules derive; rules after a whole derivation are not read.

        Raises:
            ValueError: if the rules do not derive a sentence.
        """
        pending, terminals = [self.start], []
        remaining = iter(rules)
        while pending:
            symbol = pending.pop()
            if is_terminal(symbol):
                terminals.append(symbol[1:-1])
                continue
            index = next(remaining, self.padding)
            if index == self.padding or self.rules[index].left != symbol:
                raise ValueError(f"the rules derive no sentence: a rule for {symbol} is missing")
            pending += self.rules[index].right[::-1]
        return self.separator.join(terminals)

    @functools.cached_property
    def _parser(self) -> lark.Lark:
        """The LALR(1) parser of lark; the name of a node in its trees holds the rule's index."""
        import lark  # here, because most runs have no text and the import takes 0.1 s

        names = {symbol: f"symbol_{i}" for i, symbol in enumerate(self.symbols)}
        rights: dict[str, list[str]] = {symbol: [] for symbol in self.symbols}
        for i, rule in enumerate(self.rules):
            # In lark's grammar a terminal is an escaped string.
            right = (names.get(symbol) or json.dumps(symbol[1:-1]) for symbol in rule.right)
            rights[rule.left].append(f"{' '.join(right)} -> rule_{i}")
        text = "\n".join(f"{names[left]}: {' | '.join(right)}" for left, right in rights.items())
        if self.ignored:
            text += f"\n%ignore {json.dumps(self.ignored)}"
        return lark.Lark(text, start=names[self.start], parser="lalr")
