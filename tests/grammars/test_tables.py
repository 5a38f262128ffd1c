"""Masks and derivations, against an enumeration of all sentences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import derivations
from helpers import text_file

from sfvae_jax.grammars import EXPRESSIONS, SMILES, Grammar, rule_tables, sequence_grammar
from sfvae_jax.likelihoods import Categorical

CHARACTERS = sequence_grammar(tuple("abcde"))
SMALL = [
    (EXPRESSIONS, 6),
    (sequence_grammar(("a", "b")), 5),
    (Grammar('s -> "a" s t s | \nt -> "b" s | "c"'), 8),
]

# One atom in brackets, each of its parts one rule.
BRACKETS = Grammar(
    "\n".join(
        [
            'atom -> "[" element chirality hydrogens charge class "]"',
            *(str(rule) for rule in SMILES.rules if rule.left not in ("chain", "more", "bond")),
        ]
    )
)


def padded(grammar, most):
    return np.array(
        [(*rules, *[grammar.padding] * (most - len(rules))) for rules in derivations(grammar, most)]
    )


def possible(sentences, x, place):
    """Returns what sentences [N, T] have at a place after the same beginning as x [T]."""
    alike = np.all(sentences[:, :place] == x[:place], axis=1)
    return set(sentences[alike, place].tolist())


@pytest.mark.parametrize(("grammar", "most"), SMALL)
def test_a_rule_is_allowed_exactly_if_a_sentence_continues_with_it(grammar, most):
    sentences = padded(grammar, most)
    allowed = np.asarray(jax.jit(jax.vmap(rule_tables(grammar).allowed))(sentences))
    for x, mask in list(zip(sentences, allowed, strict=True))[:: max(len(sentences) // 100, 1)]:
        for place in range(most):
            assert set(np.flatnonzero(mask[place])) == possible(sentences, x, place)


def log_probabilities(grammar, sentences, logits):
    allowed = jax.jit(jax.vmap(rule_tables(grammar).allowed))(sentences)
    masked = np.where(allowed, logits, -np.inf)
    chosen = np.take_along_axis(masked, sentences[..., None], axis=2)[..., 0]
    return np.sum(chosen - np.logaddexp.reduce(masked, axis=2), axis=1)


@pytest.mark.parametrize(("grammar", "most"), [*SMALL, (SMILES, 3), (BRACKETS, 6)])
def test_probabilities_of_all_sentences_sum_to_one(grammar, most):
    sentences = padded(grammar, most)
    for seed in range(3 if len(sentences) < 5000 else 1):
        logits = 3 * np.random.default_rng(seed).normal(size=(most, grammar.size))
        total = np.exp(log_probabilities(grammar, sentences, logits)).sum()
        np.testing.assert_allclose(total, 1, rtol=1e-12)


@pytest.mark.parametrize(("grammar", "most"), SMALL)
def test_the_likeliest_rule_at_each_place(grammar, most):
    sentences = padded(grammar, most)
    derive = jax.jit(rule_tables(grammar).derive)
    for seed in range(20):
        logits = np.random.default_rng(seed).normal(size=(most, grammar.size)).astype(np.float32)
        expected = []
        for place in range(most):
            choices = possible(sentences, np.array(expected), place)
            expected.append(max(choices, key=lambda rule: logits[place, rule]))
        np.testing.assert_array_equal(derive(logits), expected)


@pytest.mark.parametrize(("grammar", "most"), SMALL)
def test_samples_have_the_probabilities_of_the_masked_softmax(grammar, most, keys):
    number = 10_000
    sentences = padded(grammar, most)
    logits = np.random.default_rng(5).normal(size=(most, grammar.size)).astype(np.float32)
    expected = number * np.exp(log_probabilities(grammar, sentences, logits))
    likelihood = Categorical(rule_tables(grammar))
    sample = jax.jit(jax.vmap(lambda key: likelihood.sample(key, jnp.asarray(logits))))
    drawn = map(tuple, np.asarray(sample(jax.random.split(next(keys), number))).tolist())
    index = {tuple(x): i for i, x in enumerate(sentences.tolist())}
    counts = np.bincount([index[x] for x in drawn], minlength=len(sentences))
    # Pearson's statistic; sentences that are rarer than ten in all together.
    common = expected >= 10
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    freedom = len(wanted) - 1
    statistic = np.sum((observed - wanted) ** 2 / np.maximum(wanted, 1e-9))
    assert freedom > 5
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("grammar", "places", "scale"), [(EXPRESSIONS, 15, 2), (SMILES, 16, 2), (CHARACTERS, 20, 1)]
)
def test_any_logits_derive_a_whole_sentence(grammar, places, scale):
    derive = jax.jit(jax.vmap(rule_tables(grammar).derive))
    rng = np.random.default_rng(0)
    logits = scale * rng.standard_normal((2000, places, grammar.size), np.float32)
    lengths, texts = [], set()
    for x in np.asarray(derive(logits)):
        length = int(np.sum(x != grammar.padding))
        assert np.all(x[length:] == grammar.padding)
        texts.add(grammar.write(x))  # raises where a rule is missing
        if length:
            with pytest.raises(ValueError, match="is missing"):
                grammar.write(x[: length - 1])
        lengths.append(length)
    assert max(lengths) >= places - 1  # some were only just finished
    assert len(texts) > 500


def test_the_shortest_sentence_must_fit():
    with pytest.raises(
        ValueError, match="the shortest sentence takes 2 rules, but num_places is 1"
    ):
        rule_tables(EXPRESSIONS).derive(jnp.zeros((1, EXPRESSIONS.size)))


@pytest.mark.parametrize(
    ("grammar", "name", "places", "every"),
    [(EXPRESSIONS, "equations_100k.txt", 15, 100), (SMILES, "zinc_20k.smi", 128, 100)],
)
def test_no_rule_of_a_file_is_forbidden(grammar, name, places, every):
    """Neither with spare places nor if the sentence takes all places."""
    parsed = [grammar.parse(line) for line in text_file(name).read_text().splitlines()[::every]]
    x = np.full((len(parsed), places), grammar.padding)
    for row, rules in zip(x, parsed, strict=True):
        row[: len(rules)] = rules
    allowed = jax.jit(jax.vmap(rule_tables(grammar).allowed))
    assert np.all(np.take_along_axis(np.asarray(allowed(x)), x[..., None], axis=2))
    longest = max(parsed, key=len)[None]
    assert np.all(np.take_along_axis(np.asarray(allowed(longest)), longest[..., None], axis=2))
