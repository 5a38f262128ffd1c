"""Searches of the latent space by Bayesian optimisation (GrammarVAE Section 4)."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from sfvae_jax.data.sequences.kind import Score
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.noise import generator
from sfvae_jax.evaluation.progress import Progress
from sfvae_jax.evaluation.sequences.acquisition import suggest_batch
from sfvae_jax.evaluation.sequences.decoding import decode_attempts, decode_texts, language_of
from sfvae_jax.evaluation.sequences.judging import canonical, is_valid, score_of, scorer
from sfvae_jax.evaluation.threads import one_thread
from sfvae_jax.evaluation.trained_model import (
    TrainedModel,
    centers,
    once_per_checkpoint,
    split_examples,
)

NUM_BEST = 3


class Trial(NamedTuple):
    """One search.

    Attributes:
        training: the scores of the training examples that it began with, [N].
        texts: the n texts that were decoded, in order.
        scores: their scores, [n]; NaN where a text is not valid.
    """

    training: np.ndarray
    texts: list[str]
    scores: np.ndarray


@once_per_checkpoint
def found_trials(trained: TrainedModel, options: ml_collections.ConfigDict) -> list[Trial]:
    """Returns the trials of a model under these options.

    Raises:
        NotApplicable: if there is no score for this kind of sequences.
    """
    scorer(trained)  # first, because there may be none
    trials: list[Trial] = []
    total = options.num_trials * options.num_iterations
    with one_thread(), Progress("searching the latent space", total) as progress:
        progress.update(0)
        for number in range(options.num_trials):
            rng = generator(trained.rng, number)
            start = number * options.num_iterations
            trials.append(_trial(trained, options, rng, lambda done: progress.update(start + done)))
    return trials


def best_texts(trained: TrainedModel, trials: Sequence[Trial]) -> list[tuple[str, float]]:
    """Returns the `NUM_BEST` best different texts of all trials with their scores, best first."""
    language = language_of(trained)
    sign = score_of(language).sign
    scored = [pair for t in trials for pair in zip(t.texts, t.scores, strict=True)]
    valid = sorted((pair for pair in scored if np.isfinite(pair[1])), key=lambda p: -sign * p[1])
    distinct: dict[str | None, tuple[str, float]] = {}
    for text, score in valid:
        if len(distinct) < NUM_BEST:
            distinct.setdefault(canonical(language, text), (text, float(score)))
    return list(distinct.values())


def _trial(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    rng: np.random.Generator,
    progress: Callable[[int], None],
) -> Trial:
    language, score_text = language_of(trained), scorer(trained)
    score = score_of(language)
    examples = split_examples(trained, "train")
    examples = examples[np.sort(rng.permutation(len(examples))[: options.num_training])]
    codes = centers(trained, examples)
    training = np.array([score_text(language.write(example)) for example in examples])
    texts: list[str] = []
    scores = training
    for iteration in range(options.num_iterations):
        new = suggest_batch(rng, codes, _targets(score, scores), options.batch_size)
        decoded = _decode(trained, options, new, rng)
        texts += decoded
        codes = np.concatenate([codes, new])
        scores = np.concatenate([scores, [score_text(text) for text in decoded]])
        progress(iteration + 1)
    return Trial(training, texts, scores[len(training) :])


def _targets(score: Score, scores: np.ndarray) -> np.ndarray:
    """Returns the numbers that the search maximises, [n]; an invalid text counts as the worst.

    Raises:
        NotApplicable: if no text is valid, so that there is no worst.
    """
    targets = score.sign * scores
    if score.worst is None and not np.isfinite(targets).any():
        raise NotApplicable("no training example has a score")
    worst = np.nanmin(targets) if score.worst is None else score.sign * score.worst
    return np.where(np.isfinite(targets), targets, worst)


def _decode(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    codes: np.ndarray,
    rng: np.random.Generator,
) -> list[str]:
    """Returns a text for each code."""
    if options.decoding == "mode":
        return decode_texts(trained, codes)
    key = jax.random.key(int(rng.integers(2**31)))
    keys = jax.random.split(key, options.num_attempts)
    valid = functools.partial(is_valid, language_of(trained))
    return [most_frequent(texts, valid) for texts in decode_attempts(trained, codes, keys)]


def most_frequent(texts: Sequence[str], valid: Callable[[str], bool]) -> str:
    """Returns the most frequent valid text; the first text if none is valid."""
    commonest = (text for text, _ in Counter(texts).most_common())
    return next(filter(valid, commonest), texts[0])
