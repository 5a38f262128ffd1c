"""Context-free grammars: text to the rules that derive it, and back."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence

import lark
import numpy as np


class ParseError(ValueError):
    """Text that is no sentence of a grammar.

    Attributes:
        column: of the character that cannot stand there, from 1.
        reason: what is wrong there, in words.
    """

    def __init__(self, column: int, reason: str) -> None:
        super().__init__(f"column {column}: {reason}")
        self.column, self.reason = column, reason


@dataclasses.dataclass(frozen=True)
class Rule:
    """One production, left -> right.

    Attributes:
        left: a symbol with rules.
        right: such symbols and terminals, terminals in double quotes; () derives nothing.
    """

    left: str
    right: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.left} -> {' '.join(self.right)}"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the right side that have rules themselves."""
        return tuple(symbol for symbol in self.right if not is_terminal(symbol))


def is_terminal(symbol: str) -> bool:
    """Whether a symbol of a rule's right side is text."""
    return symbol.startswith('"')


class Grammar:
    """A context-free grammar, whose sentences are sequences of the rules that derive them.

    A derivation always replaces the leftmost symbol, so that a sentence of an unambiguous grammar
    has one sequence of rules, and a stack says of each place which rules can stand there. One more
    index than there are rules, `padding`, fills what follows a whole derivation.

    Attributes:
        rules: by index.
        start: the symbol that sentences are derived from.
        separator: what stands between two terminals of a written sentence.
        ignored: what may also stand between terminals of a sentence that is parsed.
        symbols: those with rules, in the order of their first rule.
    """

    def __init__(self, text: str, *, separator: str = "", ignored: str = "") -> None:
        """A grammar in lines `left -> right | right`, spaces between symbols.

        Args:
            text: such lines; terminals in double quotes, the start symbol's rules first.
            separator: between two terminals of a written sentence.
            ignored: what may also stand between terminals of a sentence that is parsed.

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
        """The index that follows a whole derivation."""
        return len(self.rules)

    @property
    def size(self) -> int:
        """How many indices there are, K: the rules and the padding."""
        return len(self.rules) + 1

    @property
    def terminals(self) -> tuple[str, ...]:
        """All terminals, without their quotes, in the order of the rules."""
        found = (symbol for rule in self.rules for symbol in rule.right if is_terminal(symbol))
        return tuple(dict.fromkeys(symbol[1:-1] for symbol in found))

    def parse(self, text: str) -> np.ndarray:
        """The rules that derive a sentence from the start symbol, leftmost symbol first, [n].

        Raises:
            ParseError: if the text is no sentence of the grammar.
        """
        try:
            tree = self._parser.parse(text)
        except lark.UnexpectedCharacters as error:
            raise ParseError(error.column, f"{error.char!r} cannot stand here") from error
        except lark.UnexpectedToken as error:
            if error.token.type == "$END":
                raise ParseError(len(text) + 1, "the text ends too soon") from error
            reason = f"{str(error.token)!r} cannot stand here"
            raise ParseError(error.token.column, reason) from error
        rules, pending = [], [tree]
        while pending:
            tree = pending.pop()
            rules.append(int(tree.data.removeprefix("rule_")))
            pending += [child for child in tree.children if isinstance(child, lark.Tree)][::-1]
        return np.array(rules, np.int32)

    def write(self, rules: Sequence[int]) -> str:
        """The sentence that rules derive; what follows a whole derivation is not read.

        Raises:
            ValueError: if they derive none.
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
                raise ValueError(f"the rules derive no sentence: one for {symbol} is missing")
            pending += self.rules[index].right[::-1]
        return self.separator.join(terminals)

    @functools.cached_property
    def _parser(self) -> lark.Lark:
        """lark's LALR(1) parser; a tree's name says which rule made it."""
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
