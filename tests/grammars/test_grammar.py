"""Grammars: how they are read, sentences to rules and back, and errors with their columns."""

import logging

import lark
import numpy as np
import pytest
from helpers import text_file

from sfvae_jax.grammars import (
    EXPRESSIONS,
    SMILES,
    Grammar,
    Language,
    ParseError,
    TooLong,
    rule_tables,
    sequence_grammar,
)

CHARACTERS = sequence_grammar(tuple("abc"), ignored=" ")


def test_a_grammar_is_read_from_lines():
    grammar = Grammar('s -> "a" s t | \nt -> "b" | "c"')
    assert [str(rule) for rule in grammar.rules] == [
        's -> "a" s t',
        "s -> ",
        't -> "b"',
        't -> "c"',
    ]
    assert (grammar.start, grammar.symbols, grammar.terminals) == ("s", ("s", "t"), ("a", "b", "c"))
    assert (grammar.padding, grammar.size) == (4, 5)
    assert grammar.parse("aabc").tolist() == [0, 0, 1, 2, 3]
    assert grammar.write([0, 0, 1, 2, 3, 4, 4]) == "aabc"


def test_the_leftmost_symbol_is_replaced():
    """By hand: s -> s + t, s -> s * t, s -> t, t -> x, t -> 1, t -> ( s ), s -> t, t -> 2."""
    rules = EXPRESSIONS.parse("x * 1 + ( 2 )")
    names = [str(EXPRESSIONS.rules[i]) for i in rules]
    assert names == [
        's -> s "+" t',
        's -> s "*" t',
        "s -> t",
        't -> "x"',
        't -> "1"',
        't -> "(" s ")"',
        "s -> t",
        't -> "2"',
    ]


def test_spaces_in_an_expression_do_not_matter():
    for text in ("sin(x)+3", "sin( x ) + 3", "  sin(  x ) +3 "):
        rules = EXPRESSIONS.parse(text)
        assert EXPRESSIONS.write(rules) == "sin( x ) + 3"
    assert CHARACTERS.write(CHARACTERS.parse("a b c")) == "abc"


@pytest.mark.parametrize(
    ("grammar", "text", "column", "reason"),
    [
        (EXPRESSIONS, "x + y", 5, "unexpected 'y'"),
        (EXPRESSIONS, "x + + x", 5, r"unexpected '\+'"),
        (EXPRESSIONS, "sin( x", 7, "unexpected end of the text"),
        (EXPRESSIONS, "", 1, "unexpected end of the text"),
        (EXPRESSIONS, "x )", 3, r"unexpected '\)'"),
        (EXPRESSIONS, "cos( x )", 1, "unexpected 'c'"),
        (SMILES, "CC(", 4, "unexpected end of the text"),
        (SMILES, "C==C", 3, "unexpected '='"),
        (SMILES, "C()C", 3, r"unexpected '\)'"),
        (SMILES, "C[Q]", 3, "unexpected 'Q'"),
        (SMILES, "1CC", 1, "unexpected '1'"),
        (SMILES, "CCé", 3, "unexpected 'é'"),
        (SMILES, "C C", 2, "unexpected ' '"),
        (CHARACTERS, "abx", 3, "unexpected 'x'"),
    ],
)
def test_errors_give_the_column(grammar, text, column, reason):
    with pytest.raises(ParseError, match=f"^column {column}: {reason}$") as caught:
        grammar.parse(text)
    assert caught.value.column == column


@pytest.mark.parametrize("rules", [[], [0], [1, 2], [0, 2, 4, 3]])
def test_rules_that_derive_no_sentence(rules):
    with pytest.raises(ValueError, match="the rules derive no sentence: a rule for . is missing"):
        EXPRESSIONS.write(rules)


def test_a_symbol_without_rules():
    with pytest.raises(ValueError, match='s -> "a" t: t has no rules'):
        Grammar('s -> "a" t')


def test_a_grammar_that_never_ends():
    with pytest.raises(ValueError, match="no derivation of s, t ever ends"):
        rule_tables(Grammar('s -> "a" t\nt -> s | t "b"\nu -> "c"'))


# ---- no sentence has two derivations ----


def conflicts(grammar, caplog):
    """Returns the conflicts that lark reports for a grammar that is not LALR(1)."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger=lark.logger.name):
        Grammar("\n".join(map(str, grammar.rules)), separator=grammar.separator)._parser  # noqa: B018
    return [record.message for record in caplog.records if "onflict" in record.message]


@pytest.mark.parametrize("grammar", [EXPRESSIONS, SMILES, CHARACTERS])
def test_the_grammars_are_unambiguous(grammar, caplog):
    assert conflicts(grammar, caplog) == []
    assert len(set(grammar.rules)) == len(grammar.rules)


def test_ambiguous_grammars(caplog):
    assert conflicts(Grammar('s -> s "+" s | "x"'), caplog)
    with pytest.raises(lark.exceptions.GrammarError, match="Reduce/Reduce"):
        Grammar('s -> t | u\nt -> "x"\nu -> "x"').parse("x")


# ---- sequences of tokens, languages ----


def test_a_sequence_grammar_has_a_rule_for_each_token_and_the_end():
    assert CHARACTERS.parse("cab").tolist() == [2, 0, 1, 3]
    assert CHARACTERS.parse("").tolist() == [3]
    assert CHARACTERS.size == 5
    layers = sequence_grammar(("conv", "pool"), separator=" ")
    assert layers.write(layers.parse("pool conv conv")) == "pool conv conv"
    for tokens in (("a", "a"), ("",), ('"',)):
        with pytest.raises(ValueError, match="a token occurs twice|cannot be a token"):
            sequence_grammar(tokens)
    with pytest.raises(ValueError, match="'a b' cannot be a token"):
        sequence_grammar(("a b",), separator=" ")


def test_an_example_is_padded_and_written_back():
    language = Language("equations", EXPRESSIONS, 6)
    example = language.encode("x+1")
    assert example.dtype == np.int16
    assert example.tolist() == [*EXPRESSIONS.parse("x + 1"), 11, 11]
    assert language.write(example) == "x + 1"
    with pytest.raises(TooLong, match="it takes 8 rules, more than the 6 places"):
        language.encode("x + 1 + 2 + 3")


def test_layers_are_written_with_their_values():
    layers = sequence_grammar(("conv", "pool"), separator=" ")
    language = Language("architectures", layers, 4, has_values=True)
    example = np.array([[1, 2.0], [0, 0.5], [2, 0], [3, 0]], np.float32)
    assert language.write(example) == "pool(2) conv(0.5)"
    assert language.write(example[2:]) == ""


# ---- files ----


def lines_that_change(grammar, name, every, squeeze):
    lines = text_file(name).read_text().splitlines()[::every]
    assert len(lines) >= 2000
    return [line for line in lines if grammar.write(grammar.parse(squeeze(line))) != line]


@pytest.mark.parametrize("every", [50, pytest.param(1, marks=pytest.mark.slow)])
def test_equations_of_a_file_round_trip(every):
    """With and without spaces."""
    for squeeze in (str, lambda line: line.replace(" ", "")):
        assert lines_that_change(EXPRESSIONS, "equations_100k.txt", every, squeeze) == []


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_zinc_round_trips(every):
    assert lines_that_change(SMILES, "zinc_20k.smi", every, str) == []
