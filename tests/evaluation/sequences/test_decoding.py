"""Decoding of sequences: batches, values, samples and attempts, on models known in full."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequence_models import (
    CHARACTERS,
    EQUATIONS,
    LAYERS,
    NETWORKS,
    TEXTS,
    Copy,
    encoded,
    networks,
    trained_copy,
)

from sfvae_jax import evaluation
from sfvae_jax.data.sequences import architectures
from sfvae_jax.errors import RunError
from sfvae_jax.evaluation.sequences import decoding as sequences

X = encoded(EQUATIONS, TEXTS)


def test_batches_do_not_change_what_codes_decode_to():
    trained = trained_copy(EQUATIONS, X)
    trained.config.batch_size = 3
    found = sequences.decode_examples(trained, X)  # in batches of 3, 3 and 1
    np.testing.assert_array_equal(found, X)
    assert sequences.decode_texts(trained, X) == TEXTS
    trained.config.batch_size = 100
    np.testing.assert_array_equal(sequences.decode_examples(trained, X), found)


def test_layers_decode_with_their_values():
    examples = networks(*LAYERS)
    trained = trained_copy(NETWORKS, examples)
    found = sequences.decode_examples(trained, examples.reshape(3, -1))
    np.testing.assert_array_equal(found, examples)
    texts = sequences.decode_texts(trained, examples.reshape(3, -1))
    assert texts == ["conv(0.5) pool(2) dense(-1)", "dense(3)", "pool(1.25) pool(0.75)"]
    for text, layers in zip(texts, LAYERS, strict=True):
        assert architectures.layers(text) == layers


def test_samples_follow_the_logits_and_their_key():
    """The first rule of a sentence, against the softmax of the logits by NumPy."""
    trained = trained_copy(EQUATIONS, X, sharpness=0.3)
    trained.config.batch_size = 1000
    codes = np.repeat(X[:1], 3000, axis=0)
    found = sequences.decode_examples(trained, codes, jax.random.key(0))
    logits = -0.3 * np.square(X[0, 0] - np.arange(4.0))  # of the start symbol's four rules
    expected = np.exp(logits) / np.exp(logits).sum()
    shares = np.bincount(found[:, 0], minlength=4) / len(found)
    assert np.all(np.abs(shares - expected) < 4.5 * np.sqrt(expected / len(found)))
    assert len({EQUATIONS.write(example) for example in found}) > 100  # all of them sentences
    trained.config.batch_size = 7
    again = sequences.decode_examples(trained, codes[:20], jax.random.key(0))
    np.testing.assert_array_equal(again, found[:20])
    other = sequences.decode_examples(trained, codes[:20], jax.random.key(1))
    assert np.any(other != again)


class Drawing(Copy):
    """A model that draws from another code than it decodes."""

    def sample(self, rng, z, likelihood):
        parameters = self.decode(z + 1.0)
        return likelihood.sample(rng, parameters), parameters


def test_a_model_that_draws_itself_is_asked_for_samples():
    trained = trained_copy(EQUATIONS, X)
    drawing = dataclasses.replace(trained, model=Drawing(EQUATIONS))
    key = jax.random.key(2)
    found = sequences.decode_examples(drawing, X, key)
    np.testing.assert_array_equal(found, sequences.decode_examples(trained, X + 1, key))
    np.testing.assert_array_equal(sequences.decode_examples(drawing, X), X)
    broken = dataclasses.replace(drawing, params={"params": {"scale": jnp.float32(np.nan)}})
    with pytest.raises(RunError, match="decoded sequences are not finite"):
        sequences.decode_texts(broken, X, key)


def test_attempts_are_the_samples_of_their_keys():
    """For any batch size, and whether the decoder runs once or for every key."""
    x = encoded(CHARACTERS, ["x+1", "(x)", "1", "x+x+x"])
    trained = trained_copy(CHARACTERS, x, sharpness=0.3)
    trained.config.batch_size = 2
    keys = jax.random.split(jax.random.key(3), 5)
    expected = [sequences.decode_texts(trained, x, key) for key in keys]
    assert len(set(map(tuple, expected))) == 5
    expected = [list(of_code) for of_code in zip(*expected, strict=True)]
    assert sequences.decode_attempts(trained, x, keys) == expected
    object.__setattr__(trained.model, "teacher_forced", True)
    assert sequences.decode_attempts(trained, x, keys) == expected


def test_a_diverged_model_is_named():
    trained = trained_copy(EQUATIONS, X, scale=np.nan)
    with pytest.raises(RunError, match="decoded sequences are not finite"):
        sequences.decode_texts(trained, X)
    with pytest.raises(RunError, match="decoded sequences are not finite"):
        sequences.decode_attempts(trained, X, jax.random.split(jax.random.key(0), 2))


def test_sentences_are_the_texts_of_a_split():
    trained = trained_copy(EQUATIONS, X, parts={"train": X[2:4], "test": X})
    assert evaluation.sentences(trained, "train") == TEXTS[2:4]
    assert evaluation.sentences(trained, "test") == TEXTS
    with pytest.raises(evaluation.NotApplicable, match="only the evaluated examples"):
        evaluation.sentences(trained_copy(EQUATIONS, X), "train")
