"""Values of expressions against Python's own, and their scores against published ones."""

import ast
import warnings

import numpy as np
import pytest

from sfvae_jax.grammars import ParseError
from sfvae_jax.grammars.arithmetic import WORST_SCORE, evaluate_expression, expression_score

X = np.linspace(-3.0, 3.0, 41)


def _by_python(text):
    """Computes values by walking Python's own syntax tree, with its precedence."""
    binary = {ast.Add: np.add, ast.Mult: np.multiply, ast.Div: np.divide}
    named = {"sin": np.sin, "exp": np.exp}

    def value(node):
        match node:
            case ast.BinOp(left, operator, right):
                return binary[type(operator)](value(left), value(right))
            case ast.Call(ast.Name(name), [argument]):
                return named[name](value(argument))
            case ast.Constant(number):
                return np.full_like(X, number)
            case ast.Name("x"):
                return X
        raise ValueError(ast.dump(node))

    with np.errstate(all="ignore"):
        return value(ast.parse(text, mode="eval").body)


def _drawn(rng, depth):
    """Draws one to three terms, with nested ones in brackets or functions."""
    text = ""
    for _ in range(rng.integers(1, 4)):
        text += f" {rng.choice(list('+*/'))} " if text else ""
        around = rng.choice(["", "", "(", "sin(", "exp("]) if depth else ""
        text += f"{around} {_drawn(rng, depth - 1)} )" if around else rng.choice(list("x123"))
    return text


def test_drawn_expressions_mean_what_python_reads():
    rng = np.random.default_rng(0)
    texts = {_drawn(rng, depth=3) for _ in range(300)}
    assert len(texts) > 200
    assert sum("+" in text and ("*" in text or "/" in text) for text in texts) > 100
    for text in texts:
        np.testing.assert_allclose(evaluate_expression(text, X), _by_python(text), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7.0),
        ("1 * 2 + 3", 5.0),
        ("3 / 2 / 3", 0.5),
        ("3 / 2 * 2", 3.0),
        ("( 1 + 2 ) * 3", 9.0),
        ("exp( 1 + 1 ) / exp( 2 )", 1.0),
        ("1/2", 0.5),
    ],
)
def test_precedence(text, value):
    np.testing.assert_allclose(evaluate_expression(text, X), np.full(41, value))


def test_overflow_is_infinite_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isposinf(evaluate_expression("exp( exp( exp( x + 3 ) ) )", X)[-1])
        assert np.isnan(evaluate_expression("x / x", np.zeros(1))).all()
        # Half of the points are as far away as a point can be, and the others near.
        huge = expression_score("exp( exp( x * 3 ) )")
        assert np.log(500) < huge < np.log(1000)
        assert expression_score("exp( exp( exp( 3 ) ) )") == WORST_SCORE  # everywhere too far
        nowhere = "exp( exp( exp( 3 ) ) ) / exp( exp( exp( 3 ) ) )"
        assert expression_score(nowhere) == WORST_SCORE == pytest.approx(np.log(1001))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("1 / 3 + x + sin( x * x )", 0.0),
        ("x / 1 + sin( 3 ) + sin( x * x )", 0.04),  # GrammarVAE's best
        ("x / x + ( x ) + sin( x * x )", 0.37),  # and its third
        ("x + 1 / exp( 1 )", 0.39),  # RAE Figure 2
    ],
)
def test_published_scores(text, score):
    assert expression_score(text) == pytest.approx(score, abs=0.005)


def test_the_score_by_hand():
    """For x it is the mean of (1/3 + sin(x x))^2, computed in a loop."""
    errors = [(1 / 3 + np.sin(x * x)) ** 2 for x in np.linspace(-10, 10, 1000)]
    assert expression_score("x") == pytest.approx(np.log(1 + np.mean(errors)))


@pytest.mark.parametrize("text", ["", "x +", "y", "sin x", "__import__( 1 )", "x x"])
def test_texts_that_are_not_expressions_are_refused(text):
    with pytest.raises(ParseError):
        evaluate_expression(text, X)
