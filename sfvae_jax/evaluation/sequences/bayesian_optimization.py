"""Bayesian optimisation of what latents decode to (GrammarVAE Section 4; RAE 6.2, Figure 2)."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from sfvae_jax.evaluation.progress import Progress
from sfvae_jax.evaluation.sequences.acquisition import NUM_POOLED, suggest_batch
from sfvae_jax.evaluation.sequences.decoding import (
    DECODINGS,
    canonical,
    decode_attempts,
    decode_texts,
    is_valid,
)
from sfvae_jax.evaluation.sequences.kinds import Score, score_of
from sfvae_jax.evaluation.threads import one_thread
from sfvae_jax.evaluation.trained_model import (
    NotApplicable,
    OfText,
    TrainedModel,
    centers,
    once,
    part_images,
)
from sfvae_jax.options import COUNT, Option, one_of, whole

NUM_BEST = 3
OPTIONS = {
    "num_trials": Option(5, COUNT, "searches, each from other training examples"),
    "num_iterations": Option(5, COUNT, "of each trial"),
    "batch_size": Option(50, whole(1, NUM_POOLED), "codes that each of them decodes"),
    "num_training": Option(
        1000, COUNT, "training examples whose codes and scores a trial begins with"
    ),
    "decoding": Option(
        "mode",
        one_of("decoding", DECODINGS),
        "of p(x|z): its mode; or sample, the most frequent valid one of num_attempts",
    ),
    "num_attempts": Option(25, COUNT, "samples of p(x|z) for each code"),
}
METRICS = (
    "search_valid",
    "search_valid_deviation",
    "search_score",
    "search_score_deviation",
    *(f"search_best_{rank}" for rank in range(1, NUM_BEST + 1)),
)


class Trial(NamedTuple):
    """One search.

    Attributes:
        training: scores of the training sentences that it began with, [N].
        texts: what was decoded, in order, n of them.
        scores: of these, not a number where one is not valid, [n].
    """

    training: np.ndarray
    texts: list[str]
    scores: np.ndarray


def evaluate_search(
    trained: TrainedModel, options: ml_collections.ConfigDict
) -> dict[str, float | NotApplicable]:
    """The evaluation `bayesian_optimization`: what a search of the latent space finds.

    search_valid                fraction of the codes whose text is valid, mean over the trials
    search_score                mean score of the valid ones, mean over the trials
    search_best_1, 2, 3         scores of the best distinct texts of all trials, with the texts
    ..._deviation               standard deviation over the trials

    Raises:
        NotApplicable: if there is no score for this kind of sequences.
    """
    trials = found_trials(trained, options)
    valid = [float(np.mean(np.isfinite(trial.scores))) for trial in trials]
    scores = [np.nanmean(t.scores) for t in trials if np.isfinite(t.scores).any()]
    best = best_texts(trained, trials)
    nothing = NotApplicable("not as many distinct valid texts have been found")
    ranked = [OfText(score, text) for text, score in best] + [nothing] * NUM_BEST
    return {
        "search_valid": float(np.mean(valid)),
        "search_valid_deviation": _deviation(valid),
        "search_score": float(np.mean(scores)) if scores else nothing,
        "search_score_deviation": _deviation(scores),
        **{f"search_best_{rank + 1}": ranked[rank] for rank in range(NUM_BEST)},
    }


def found_trials(trained: TrainedModel, options: ml_collections.ConfigDict) -> list[Trial]:
    """The trials of a model under these options, searched once.

    Raises:
        NotApplicable: as `evaluate_search`.
    """
    return once(trained, "search", lambda: _search(trained, options))


def best_texts(trained: TrainedModel, trials: Sequence[Trial]) -> list[tuple[str, float]]:
    """The `NUM_BEST` best distinct texts of all trials with their scores, the best first."""
    sign = score_of_model(trained).sign
    scored = [pair for t in trials for pair in zip(t.texts, t.scores, strict=True)]
    valid = sorted((pair for pair in scored if np.isfinite(pair[1])), key=lambda p: -sign * p[1])
    distinct: dict[str | None, tuple[str, float]] = {}
    for text, score in valid:
        if len(distinct) < NUM_BEST:
            distinct.setdefault(canonical(trained.language, text), (text, float(score)))
    return list(distinct.values())


def score_of_model(trained: TrainedModel) -> Score:
    """`score_of`, made once."""
    return once(trained, "score", lambda: score_of(trained))


def _search(trained: TrainedModel, options: ml_collections.ConfigDict) -> list[Trial]:
    score_of_model(trained)  # first, for there may be none
    key = np.asarray(jax.random.key_data(trained.rng)).ravel()
    trials: list[Trial] = []
    total = options.num_trials * options.num_iterations
    with one_thread(), Progress("searching the latent space", total) as progress:
        progress.update(0)
        for number in range(options.num_trials):
            rng = np.random.default_rng([*map(int, key), number])
            start = number * options.num_iterations
            trials.append(_trial(trained, options, rng, lambda done: progress.update(start + done)))
    return trials


def _trial(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    rng: np.random.Generator,
    progress: Callable[[int], None],
) -> Trial:
    score = score_of_model(trained)
    images = part_images(trained, "train")
    images = images[np.sort(rng.permutation(len(images))[: options.num_training])]
    codes = centers(trained, images)
    training = np.array([score.of(trained.language.write(example)) for example in images])
    texts: list[str] = []
    scores = training
    for iteration in range(options.num_iterations):
        new = suggest_batch(rng, codes, _targets(score, scores), options.batch_size)
        decoded = _decode(trained, options, new, rng)
        texts += decoded
        codes = np.concatenate([codes, new])
        scores = np.concatenate([scores, [score.of(text) for text in decoded]])
        progress(iteration + 1)
    return Trial(training, texts, scores[len(training) :])


def _targets(score: Score, scores: np.ndarray) -> np.ndarray:
    """What is to be made great, [n]; an invalid text counts for the worst.

    Raises:
        NotApplicable: if none is valid, so that there is no worst.
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
    """A text of each code."""
    if options.decoding == "mode":
        return decode_texts(trained, codes)
    key = jax.random.key(int(rng.integers(2**31)))
    keys = jax.random.split(key, options.num_attempts)
    valid = functools.partial(is_valid, trained.language)
    return [most_frequent(texts, valid) for texts in decode_attempts(trained, codes, keys)]


def most_frequent(texts: Sequence[str], valid: Callable[[str], bool]) -> str:
    """The most frequent valid text; the first one where none is valid."""
    commonest = (text for text, _ in Counter(texts).most_common())
    return next(filter(valid, commonest), texts[0])


def _deviation(values: Sequence[float]) -> float | NotApplicable:
    if len(values) < 2:
        return NotApplicable("a deviation needs two trials or more")
    return float(np.std(values, ddof=1))
