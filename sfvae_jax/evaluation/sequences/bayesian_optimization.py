"""The evaluation `bayesian_optimization` (GrammarVAE Section 4; RAE 6.2, Figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation.measured import Measured, NotApplicable, OfText, Value
from sfvae_jax.evaluation.sequences.acquisition import NUM_POOLED
from sfvae_jax.evaluation.sequences.decoding import DECODINGS
from sfvae_jax.evaluation.sequences.judging import require_score
from sfvae_jax.evaluation.sequences.search import NUM_BEST, best_texts, found_trials
from sfvae_jax.evaluation.sequences.search_drawing import draw_search
from sfvae_jax.evaluation.spec import Evaluation, Measure
from sfvae_jax.evaluation.trained_model import TrainedModel
from sfvae_jax.options import COUNT, Option, one_of, whole

OPTIONS = {
    "num_trials": Option(
        5, COUNT, "Number of searches, each starting from other training examples"
    ),
    "num_iterations": Option(5, COUNT, "Number of batches of codes that each search decodes"),
    "batch_size": Option(50, whole(1, NUM_POOLED), "Number of codes in a batch"),
    "num_training": Option(
        1000, COUNT, "Number of training examples from whose codes and scores a search starts"
    ),
    "decoding": Option(
        "mode",
        one_of("decoding", DECODINGS),
        "How a code is decoded: mode = the mode of p(x|z), sample = the most frequent valid text"
        " among num_attempts samples",
    ),
    "num_attempts": Option(
        25, COUNT, "Number of samples of p(x|z) for each code, if decoding is sample"
    ),
}


def evaluate_search(trained: TrainedModel, options: ml_collections.ConfigDict) -> Measured:
    """Takes the measures of `bayesian_optimization`: what a search of the latent space finds.

    search_valid                share of the codes with a valid text, mean over the trials
    search_score                mean score of the valid texts, mean over the trials
    search_best_1, 2, 3         scores of the best different texts of all trials, with the texts
    ..._deviation               standard deviation over the trials

    Raises:
        NotApplicable: if there is no score for this kind of sequences.
    """
    trials = found_trials(trained, options)
    valid = [float(np.mean(np.isfinite(trial.scores))) for trial in trials]
    scores = [np.nanmean(t.scores) for t in trials if np.isfinite(t.scores).any()]
    best = best_texts(trained, trials)
    too_few = NotApplicable("the search found too few different valid texts")
    ranked = [OfText(score, text) for text, score in best] + [too_few] * NUM_BEST
    return {
        "search_valid": float(np.mean(valid)),
        "search_valid_deviation": _deviation(valid),
        "search_score": _mean(scores),
        "search_score_deviation": _deviation(scores),
        **{f"search_best_{rank + 1}": ranked[rank] for rank in range(NUM_BEST)},
    }


def _mean(scores: Sequence[float]) -> Value:
    if not scores:
        return NotApplicable("the search found no valid text")
    return float(np.mean(scores))


def _deviation(values: Sequence[float]) -> Value:
    if len(values) < 2:
        return NotApplicable("a standard deviation requires at least two trials")
    return float(np.std(values, ddof=1))


_SHOWN: dict[str, Any] = {"digits": 2, "split": "train"}
_FOUND = (
    Measure("search_valid", better="more", is_over_trials=True, **_SHOWN),
    Measure("search_score", is_over_trials=True, **_SHOWN),
)
EVALUATION = Evaluation(
    evaluate_search,
    (
        *(one for measure in _FOUND for one in (measure, measure.error("deviation"))),
        *(Measure(f"search_best_{rank + 1}", **_SHOWN) for rank in range(NUM_BEST)),
    ),
    OPTIONS,
    summary="a search of the latent space for the sequences with the best scores",
    source="RAE Figure 2, 6.2",
    examples="sequences",
    splits=("train",),
    check_language=require_score,
    draw=draw_search,
)
