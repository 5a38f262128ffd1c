"""Sentences of equal words are merged, and the numbers in which they differ become ranges."""

import pytest

from sfvae_jax.reporting.alike import merged

SENTENCE = "at most {} of 1,000 count, so it is {} nats too low; set num_samples2=1e-3."


def test_equal_words_are_one_sentence_with_ranges():
    sentences = [
        ("a", SENTENCE.format("3.6", "0.2")),
        ("b", SENTENCE.format("12.1", "-0.1")),
        ("a", SENTENCE.format("6", "0.2")),
    ]
    assert merged(sentences) == [(["a", "b"], SENTENCE.format("3.6 to 12.1", "-0.1 to 0.2"))]


def test_other_words_stay_apart_in_their_order():
    sentences = [("a", "few of 10"), ("b", "many of 10"), ("c", "few of 10")]
    assert merged(sentences) == [(["a", "c"], "few of 10"), (["b"], "many of 10")]


@pytest.mark.parametrize(
    ("first", "second", "whole"),
    [
        ("10,000 of 1", "9,000 of 1", "9,000 to 10,000 of 1"),
        ("1e-5 is small", "1e-3 is small", "1e-5 to 1e-3 is small"),
        ("30% died", "4% died", "4 to 30% died"),
        ("left: 2.", "left: 10.", "left: 2 to 10."),
    ],
)
def test_numbers_of_every_kind(first, second, whole):
    assert merged([("", first), ("", second)]) == [([""], whole)]


@pytest.mark.parametrize(
    "name",
    [
        *("key_{}", "x{}y", "v1.{}", "{}.5x", "0.{}.30", "mnist-{}", "run/{}", "a={}", "1,{},3"),
        *("\u2212{}", "{} ± 0.1", "1 ± {}"),
    ],
)
def test_numbers_within_other_words_are_no_numbers(name):
    sentences = [("", name.format(1)), ("", name.format(2))]
    assert [sentence for _, sentence in merged(sentences)] == [text for _, text in sentences]
