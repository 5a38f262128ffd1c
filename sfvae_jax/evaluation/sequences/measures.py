"""The evaluations `sequence_samples` and `sequence_reconstruction`."""

from __future__ import annotations

from collections.abc import Sequence

import ml_collections
import numpy as np

from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.progress import tracked
from sfvae_jax.evaluation.sequences.decoding import (
    DECODINGS,
    canonical,
    decode_examples,
    is_valid,
    random_sentences,
    rules_of,
    sentences,
)
from sfvae_jax.evaluation.trained_model import NotApplicable, TrainedModel, centers, once
from sfvae_jax.grammars import Language
from sfvae_jax.options import COUNT, Option, one_of, some_of

Measured = dict[str, float | NotApplicable]

SAMPLE_OPTIONS = {
    "sources": Option(("prior", "gmm"), some_of("source", DENSITIES), "densities of the latents"),
    "num_samples": Option(1000, COUNT, "of each density"),
    "decoding": Option("mode", one_of("decoding", DECODINGS), "of p(x|z): its mode, or a sample"),
}
RECONSTRUCTION_METRICS = ("exact_match", "token_accuracy", "value_error")


def evaluate_sequence_samples(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Measured:
    """The evaluation `sequence_samples`: what random latents decode to, as GrammarVAE and MOSES.

    For each source valid_SOURCE, unique_SOURCE and novel_SOURCE: see `sample_shares`.
    """
    measured: Measured = {}
    for source in options.sources:
        names = _sample_metrics(source)
        try:
            found = random_sentences(trained, source, options.num_samples, options.decoding)
            shares = sample_shares(trained.language, found, _training_forms(trained))
        except NotApplicable as reason:
            measured |= dict.fromkeys(names, reason)
            continue
        measured |= dict(zip(names, shares, strict=True))
    return measured


def sample_shares(
    language: Language, texts: Sequence[str], known: set[str]
) -> tuple[float, float | NotApplicable, float | NotApplicable]:
    """How many samples are valid, how many of these different, and how many of those new.

    valid   share of the texts that `is_valid`
    unique  different valid ones, as share of the valid ones
    novel   different valid ones that are not known, as share of the different valid ones

    The three of MOSES (Polykovskiy et al., 2020); the first is that of GrammarVAE's tables. Two
    texts are the same where `canonical` is.

    Args:
        language: that they are in.
        texts: of samples, one or more.
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


def sequence_samples_metrics(
    options: ml_collections.ConfigDict, evaluations: ml_collections.ConfigDict
) -> tuple[str, ...]:
    """The names of `sequence_samples`' measures."""
    del evaluations
    return tuple(name for source in options.sources for name in _sample_metrics(source))


def evaluate_sequence_reconstruction(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> Measured:
    """The evaluation `sequence_reconstruction`: p(x|z)'s mode at the center of every posterior.

    The decoder runs free: one that is fed its own output is not shown the example. See
    `reconstruction_measures`.
    """
    del options
    rebuilt = decode_examples(trained, centers(trained, trained.images))
    return reconstruction_measures(trained.language, np.asarray(trained.images), rebuilt)


def reconstruction_measures(language: Language, x: np.ndarray, rebuilt: np.ndarray) -> Measured:
    """How near sequences come to examples.

    exact_match     share of the examples whose rules are all the same; values do not count
    token_accuracy  share of the examples' rules, over all places up to the end of each derivation,
                    that are the same; padding does not count
    value_error     mean |value - value of x| over the places where both have a layer

    Args:
        language: of both.
        x: examples [N, T], with values [N, T, 2].
        rebuilt: shaped like them.
    """
    rules, other_rules = (rules_of(language, examples) for examples in (x, rebuilt))
    same, counted = rules == other_rules, rules != language.grammar.padding
    return {
        "exact_match": float(np.mean(np.all(same, axis=1))),
        "token_accuracy": _mean_or_reason(same[counted]),
        "value_error": _value_error(language, x, rebuilt),
    }


def _mean_or_reason(same: np.ndarray) -> float | NotApplicable:
    return float(np.mean(same)) if len(same) else NotApplicable("the examples have no rules")


def _value_error(language: Language, x: np.ndarray, rebuilt: np.ndarray) -> float | NotApplicable:
    if not language.has_values:
        return NotApplicable("the sequences have no values")
    pair = (language.tables.brings_on(rules_of(language, one)) for one in (x, rebuilt))
    both = np.logical_and(*map(np.asarray, pair))
    if not both.any():
        return NotApplicable("there is no place where both the example and its decoding have one")
    errors = np.abs(x[..., 1] - rebuilt[..., 1], dtype=np.float64)
    return float(np.mean(errors[both]))


def _sample_metrics(source: str) -> tuple[str, ...]:
    return tuple(f"{measure}_{source}" for measure in ("valid", "unique", "novel"))


def _training_forms(trained: TrainedModel) -> set[str]:
    """`canonical` of the training set."""

    def forms() -> set[str]:
        training = tracked("reading training sequences", sentences(trained, "train"))
        return {canonical(trained.language, text) for text in training}

    return once(trained, "training forms", forms)
