"""Counts and ranks of sentences, against an enumeration and recurrences by hand."""

import numpy as np
import pytest
from enumeration import derivations

from sfvae_jax.grammars import EXPRESSIONS, SMILES, Grammar, Sentences, sequence_grammar


@pytest.mark.parametrize(
    ("grammar", "most"),
    [
        (EXPRESSIONS, 7),
        (sequence_grammar(("a", "b")), 6),
        (Grammar('s -> "a" s t s | \nt -> "b" s | "c"'), 12),
        (SMILES, 3),
    ],
)
def test_every_rank_has_a_different_sentence(grammar, most):
    sentences = Sentences(grammar, most)
    everything = derivations(grammar, most)
    assert sentences.total == len(everything) > 20
    found = sentences.derivations(np.arange(sentences.total))
    assert found.dtype == np.int16
    padded = {(*rules, *[grammar.padding] * (most - len(rules))) for rules in everything}
    assert set(map(tuple, found.tolist())) == padded
    lengths = np.sum(found != grammar.padding, axis=1)
    assert np.all(np.diff(lengths) >= 0)
    counts = [sentences.count(length) for length in range(most + 1)]
    np.testing.assert_array_equal(np.bincount(lengths, minlength=most + 1), counts)


def test_numbers_of_expressions():
    """s_n = t_{n-1} + 3 sum s_k t_{n-1-k}; t_n = 3 s_{n-1}, and 4 for n = 1."""
    s, t = [0], [0]
    for n in range(1, 16):
        s.append(t[n - 1] + 3 * sum(s[k] * t[n - 1 - k] for k in range(n)))
        t.append(3 * s[n - 1] + 4 * (n == 1))
    assert Sentences(EXPRESSIONS, 15).total == sum(s) == 199_941_076


def test_too_many_derivations_for_64_bits():
    with pytest.raises(ValueError, match="cannot be numbered with 64 bits"):
        Sentences(SMILES, 40).derivations(np.zeros(1, np.int64))
