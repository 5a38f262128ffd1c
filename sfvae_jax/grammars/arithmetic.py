"""The values of sentences of `EXPRESSIONS`, and their distance from GrammarVAE's target.

GrammarVAE searches for the expression that comes closest to the target (Kusner et al., 2017).
"""

from __future__ import annotations

import functools

import numpy as np

from sfvae_jax.grammars.expressions import EXPRESSIONS
from sfvae_jax.grammars.grammar import Grammar, ParseError

TARGET = "1 / 3 + x + sin( x * x )"
NUM_POINTS, LIMIT = 1000, 10.0  # x, evenly spaced on [-LIMIT, LIMIT]
WORST_ERROR = 1000.0  # larger squared errors count as this value
WORST_SCORE = float(np.log1p(WORST_ERROR))

# This grammar has the same sentences as `EXPRESSIONS`, which has no precedence. Here * and / bind
# more tightly than +.
_MEANING = Grammar(
    """
    sum -> sum "+" product | product
    product -> product "*" factor | product "/" factor | factor
    factor -> "(" sum ")" | "sin(" sum ")" | "exp(" sum ")" | "x" | "1" | "2" | "3"
    """,
    separator=" ",
)
_FUNCTIONS = {
    "+": np.add,
    "*": np.multiply,
    "/": np.divide,
    "sin(": np.sin,
    "exp(": np.exp,
}


def is_expression(text: str) -> bool:
    """Returns whether a text is a sentence of `EXPRESSIONS`."""
    try:
        EXPRESSIONS.parse(text)
    except ParseError:
        return False
    return True


def evaluate_expression(text: str, x: np.ndarray) -> np.ndarray:
    """Returns the values of an expression, read as in mathematics and Python: * and / before +.

    Numbers are real, so that 1 / 2 = 0.5. An overflow gives infinity, and 0 / 0 or inf - inf gives
    NaN, as in IEEE 754; there are no warnings.

    Args:
        text: a sentence of `EXPRESSIONS`.
        x: points, [N].

    Returns:
        [N], float64.

    Raises:
        ParseError: if the text is not a sentence.
    """
    x = np.asarray(x, np.float64)
    operands: list[np.ndarray] = []
    with np.errstate(all="ignore"):
        # A derivation is in prefix notation. Read from the end, it gives operands before operators.
        for index in _MEANING.parse(text)[::-1]:
            rule = _MEANING.rules[index]
            arguments = [operands.pop() for _ in rule.symbols]
            terminals = [symbol[1:-1] for symbol in rule.right if symbol not in rule.symbols]
            operands.append(_apply(terminals[0] if terminals else "", arguments, x))
    return operands.pop()


def expression_score(text: str) -> float:
    """Returns log(1 + MSE) to 1/3 + x + sin(x x); lower is better (GrammarVAE Section 4.1).

    As in GrammarVAE's public code, the mean is over 1,000 points evenly spaced on [-10, 10], and
    squared errors are clipped at 1,000. An expression that is NaN at some point scores
    log(1 + 1000).

    Raises:
        ParseError: if the text is not a sentence of `EXPRESSIONS`.
    """
    x, target = _target()
    with np.errstate(all="ignore"):
        errors = np.minimum(np.square(evaluate_expression(text, x) - target), WORST_ERROR)
    score = float(np.log1p(np.mean(errors)))
    return score if np.isfinite(score) else WORST_SCORE


def _apply(terminal: str, arguments: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    if terminal in _FUNCTIONS:
        return _FUNCTIONS[terminal](*arguments)
    if arguments:  # parentheses, or a rule that only renames its symbol
        return arguments[0]
    return x if terminal == "x" else np.full_like(x, float(terminal))


@functools.cache
def _target() -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-LIMIT, LIMIT, NUM_POINTS)
    return x, evaluate_expression(TARGET, x)
