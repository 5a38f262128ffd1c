"""What sentences are worth, by the kind of their language."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.progress import tracked
from sfvae_jax.evaluation.sequences.decoding import is_valid, sentences
from sfvae_jax.evaluation.sequences.expressions import WORST_SCORE, expression_score
from sfvae_jax.evaluation.trained_model import NotApplicable, TrainedModel


class Score(NamedTuple):
    """How good texts are.

    Attributes:
        of: the score of a text; not a number if it is not valid.
        name: what it is.
        sign: 1.0 if greater scores are better, else -1.0.
        worst: what an invalid text counts for; None: as much as the worst valid one seen.
    """

    of: Callable[[str], float]
    name: str
    sign: float
    worst: float | None


def score_of(trained: TrainedModel) -> Score:
    """How good the texts of a model's language are.

    Of equations `expressions.expression_score`, less is better; of molecules
    `molecules.penalized_log_p`, standardised over the training set, greater is better.

    Raises:
        NotApplicable: if there is no score for this kind, or no training molecule has one.
    """
    kind = trained.language.kind
    if kind == "equations":
        function = _of_valid(trained, expression_score)
        return Score(function, "log(1 + MSE)", -1.0, WORST_SCORE)
    if kind == "molecules":
        from sfvae_jax.evaluation.sequences import molecules

        training = list(tracked("scoring training molecules", sentences(trained, "train")))
        if not any(map(molecules.is_valid, training)):
            raise NotApplicable("RDKit reads none of the training molecules, so none has a score")
        statistics = molecules.score_statistics(training)
        score = functools.partial(molecules.penalized_log_p, statistics=statistics)
        return Score(_of_valid(trained, score), "penalised log P", 1.0, None)
    raise NotApplicable(f"{kind} have no score; equations and molecules have")


def require_scorer(kind: str) -> None:
    """Refuses molecules where RDKit, which scores them, is missing.

    Args:
        kind: of the data set's language.

    Raises:
        UsageError: saying what to install.
    """
    if kind != "molecules":
        return
    from sfvae_jax.evaluation.sequences import molecules

    if reason := molecules.rdkit_missing():
        raise UsageError(f"evaluation 'bayesian_optimization' needs a score: {reason}")


def _of_valid(trained: TrainedModel, score: Callable[[str], float]) -> Callable[[str], float]:
    """The score of valid texts, each computed once; not a number of others."""
    language = trained.language
    return functools.cache(lambda text: score(text) if is_valid(language, text) else math.nan)
