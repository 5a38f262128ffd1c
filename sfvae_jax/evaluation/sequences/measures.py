"""The evaluations `sequence_samples` and `sequence_reconstruction`."""

from __future__ import annotations

from collections.abc import Sequence

import ml_collections
import numpy as np

from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.measured import Measured, NotApplicable, Value
from sfvae_jax.evaluation.progress import tracked
from sfvae_jax.evaluation.sequences.decoding import (
    DECODINGS,
    decode_examples,
    language_of,
    random_sentences,
    rules_of,
    sentences,
)
from sfvae_jax.evaluation.sequences.judging import canonical, is_valid
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel, centers, once_per_checkpoint
from sfvae_jax.grammars import Language
from sfvae_jax.options import COUNT, Option, one_of, some_of

SAMPLE_OPTIONS = {
    "sources": Option(
        ("prior", "gmm"), some_of("source", DENSITIES), "Densities from which latents are drawn"
    ),
    "num_samples": Option(1000, COUNT, "Number of sequences to decode for each density"),
    "decoding": Option(
        "mode",
        one_of("decoding", DECODINGS),
        "How a latent is decoded: mode = the mode of p(x|z), sample = a sample of it",
    ),
}


def evaluate_sequence_samples(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Measured:
    """Takes the measures of `sequence_samples`: what random latents decode to.

    For each source they are valid_SOURCE, unique_SOURCE and novel_SOURCE; see `sample_shares`.
    """
    measured: Measured = {}
    for source in options.sources:
        names = _sample_metrics(source)
        try:
            found = random_sentences(trained, source, options.num_samples, options.decoding)
            shares = sample_shares(language_of(trained), found, _training_forms(trained))
        except NotApplicable as reason:
            measured |= dict.fromkeys(names, reason)
            continue
        measured |= dict(zip(names, shares, strict=True))
    return measured


def sample_shares(
    language: Language, texts: Sequence[str], known: set[str | None]
) -> tuple[float, Value, Value]:
    """Returns the share of samples that are valid, of these different, and of these new.

    valid   valid texts, as a share of all texts
    unique  different valid texts, as a share of the valid texts
    novel   different valid texts that are not known, as a share of the different valid texts

    They are the measures of MOSES (Polykovskiy et al., 2020); GrammarVAE's tables have the first.
    Two texts are the same if their `canonical` forms are.

    Args:
        language: the language of the texts.
        texts: the samples, one or more.
        known: canonical forms of the training set.

    Raises:
        NotApplicable: if they are molecules and RDKit is not installed.
    """
    valid = [text for text in texts if is_valid(language, text)]
    if not valid:
        nothing = NotApplicable("no sample is valid")
        return 0.0, nothing, nothing
    different = {canonical(language, text) for text in valid}
    novel = len(different - known) / len(different)
    return len(valid) / len(texts), len(different) / len(valid), novel


def evaluate_sequence_reconstruction(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Measured:
    """Takes the measures of `sequence_reconstruction`, of the mode of p(x|z) at posterior centers.

    The decoder runs free: it is not shown the example. See `reconstruction_measures`.
    """
    del options
    rebuilt = decode_examples(trained, centers(trained, trained.images))
    return reconstruction_measures(language_of(trained), np.asarray(trained.images), rebuilt)


def reconstruction_measures(language: Language, x: np.ndarray, rebuilt: np.ndarray) -> Measured:
    """Returns how nearly decoded sequences match their examples.

    exact_match     share of the examples whose rules are all the same; values do not count
    token_accuracy  share of the examples' rules, over all places up to the end of each derivation,
                    that are the same; padding does not count
    value_error     mean |value - value of x| over the places where both have a layer

    Args:
        language: the language of both.
        x: examples [N, T], with values [N, T, 2].
        rebuilt: what they decode to, shaped like x.
    """
    rules, other_rules = (rules_of(language, examples) for examples in (x, rebuilt))
    same, counted = rules == other_rules, rules != language.grammar.padding
    return {
        "exact_match": float(np.mean(np.all(same, axis=1))),
        "token_accuracy": _mean_or_reason(same[counted]),
        "value_error": _value_error(language, x, rebuilt),
    }


def _mean_or_reason(same: np.ndarray) -> Value:
    return float(np.mean(same)) if len(same) else NotApplicable("the examples have no rules")


def _value_error(language: Language, x: np.ndarray, rebuilt: np.ndarray) -> Value:
    if not language.has_values:
        return NotApplicable("the sequences have no values")
    pair = (language.tables.brings_on(rules_of(language, one)) for one in (x, rebuilt))
    both = np.logical_and(*map(np.asarray, pair))
    if not both.any():
        return NotApplicable("no place has a value in both an example and its decoding")
    errors = np.abs(x[..., 1] - rebuilt[..., 1], dtype=np.float64)
    return float(np.mean(errors[both]))


def _sample_metrics(source: str) -> tuple[str, ...]:
    return tuple(f"{measure}_{source}" for measure in ("valid", "unique", "novel"))


@once_per_checkpoint
def _training_forms(trained: TrainedModel) -> set[str | None]:
    """Returns the `canonical` forms of the training set."""
    training = tracked("reading training sequences", sentences(trained, "train"))
    return {canonical(language_of(trained), text) for text in training}


SEQUENCE_SAMPLES = Evaluation(
    evaluate_sequence_samples,
    (
        Measure("valid_SOURCE", "valid samples of the SOURCE", digits=3, better="more", split=""),
        Measure("unique_SOURCE", "unique samples of the SOURCE", digits=3, better="more", split=""),
        Measure("novel_SOURCE", "novel samples of the SOURCE", digits=3, better="more", split=""),
    ),
    SAMPLE_OPTIONS,
    summary=(
        "the shares of random sequences that are valid, of the valid ones that are different,"
        " and of these that are not in the training set"
    ),
    source="GrammarVAE 4.2, RAE 6.2",
    names=lambda options, _: tuple(
        name for source in options.sources for name in _sample_metrics(source)
    ),
    examples="sequences",
    splits=("train",),
    uses_generated=True,
)
SEQUENCE_RECONSTRUCTION = Evaluation(
    evaluate_sequence_reconstruction,
    (
        Measure("exact_match", digits=3, better="more"),
        Measure("token_accuracy", digits=3, better="more"),
        Measure("value_error", digits=3, better="less"),
    ),
    summary="how well sequences are decoded from their codes",
    source="GrammarVAE 4",
    examples="sequences",
)
