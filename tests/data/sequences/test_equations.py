"""Equations that are drawn: all different, sentences, uniform, the same everywhere."""

import functools

import numpy as np
import pytest
from sequence_data import group, texts

from sfvae_jax import data
from sfvae_jax.grammars import EXPRESSIONS

pytestmark = pytest.mark.usefixtures("own_cache")


@functools.cache
def all_drawn():
    """Returns the training split and the test split, one after the other."""
    parts = [data.load(group("equations"), part) for part in ("train", "test")]
    assert [part.shape for part in parts] == [(90_000, 15), (10_000, 15)]
    return np.concatenate(parts)


def test_drawn_equations_are_different():
    assert all_drawn().dtype == np.int16
    assert len({example.tobytes() for example in all_drawn()}) == 100_000


@pytest.mark.parametrize("every", [200, pytest.param(1, marks=pytest.mark.slow)])
def test_drawn_equations_are_sentences_that_fit(every):
    for example in all_drawn()[::every]:
        text = EXPRESSIONS.write(example)
        assert len(text.replace(" ", "")) <= 19
        rules = EXPRESSIONS.parse(text)
        np.testing.assert_array_equal(rules, example[: len(rules)])
        assert np.all(example[len(rules) :] == EXPRESSIONS.padding)


def test_drawn_equations_are_uniform_over_rules_and_characters():
    """Counts by rules and characters are compared with generating functions worked out by hand."""
    drawn = all_drawn()
    s, t = np.zeros((2, 16, 60))  # [rules, characters]

    def join(a, b, n, more):
        """Numbers of pairs of n rules in all, each pair with more characters."""
        sums = sum(np.convolve(a[k], b[n - k])[:60] for k in range(n + 1))
        return np.concatenate([np.zeros(more), sums[: 60 - more]])

    nothing = np.zeros((16, 60))
    nothing[0, 0] = 1  # one way, of no rules and no characters
    for n in range(1, 16):
        s[n] = t[n - 1] + 3 * join(s, t, n - 1, 1)
        t[n] = join(s, nothing, n - 1, 2) + 2 * join(s, nothing, n - 1, 5)
        t[n, 1] += 4 * (n == 1)
    ways = s[:, :20]
    expected = len(drawn) * ways / ways.sum()
    assert round(s.sum()) == 199_941_076

    lengths = np.sum(drawn != EXPRESSIONS.padding, axis=1)
    # s -> s + t and its like, s -> t; t -> ( s ), sin( s ), exp( s ) and the four leaves; padding.
    characters = np.array([1, 1, 1, 0, 2, 5, 5, 1, 1, 1, 1, 0])[drawn].sum(axis=1)
    counts = np.zeros_like(expected)
    np.add.at(counts, (lengths, characters), 1)
    assert np.all(counts[expected == 0] == 0)
    common = expected > 10
    statistic = np.sum((counts - expected)[common] ** 2 / expected[common])
    freedom = common.sum() - 1
    assert freedom >= 8
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


def test_drawn_equations_are_the_same_everywhere():
    source = data.open_source(group("equations", seed=3))
    drawn = [EXPRESSIONS.write(source["test"][i]) for i in range(3)]
    assert drawn == [
        "exp( sin( 3 * 2 / 1 * x * 3 ) )",
        "2 / ( 2 * 2 * x ) * 1 + 1",
        "1 + sin( 3 ) + ( 2 ) * 2 + 1",
    ]


def test_characters_are_the_same_equations():
    config, characters = (
        group("equations", tokens=tokens, num_examples=300) for tokens in ("grammar", "characters")
    )
    language = data.language(characters)
    examples = data.load(characters, "train")
    assert examples.shape == (300, 20)
    expected = [text.replace(" ", "") for text in texts(config)]
    assert [language.write(example) for example in examples] == expected
    np.testing.assert_array_equal([language.encode(text) for text in expected], examples)
    np.testing.assert_array_equal(language.encode("x + 1"), language.encode("x+1"))
