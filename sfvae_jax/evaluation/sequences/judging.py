"""Judges texts by the `SequenceKind` of their language: validity, canonical form and score."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from sfvae_jax import data
from sfvae_jax.data.sequences.kind import NoScore, Score, SequenceKind
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.progress import tracked
from sfvae_jax.evaluation.sequences.decoding import language_of, sentences
from sfvae_jax.evaluation.trained_model import TrainedModel, once_per_checkpoint
from sfvae_jax.grammars import Language


def is_valid(language: Language, text: str) -> bool:
    """Returns whether a text is a meaningful sequence of its kind.

    An equation must parse under `EXPRESSIONS`, RDKit must read a molecule, and an architecture must
    have a layer.

    Raises:
        NotApplicable: if that cannot be told on this machine.
    """
    return judged(language).is_valid(text)


def canonical(language: Language, text: str) -> str | None:
    """Returns one form of all valid texts that mean the same, by which they are counted.

    For an equation it is the text without spaces; for a molecule RDKit's SMILES, or None if RDKit
    reads none; for an architecture the types of its layers, without their values.

    Raises:
        NotApplicable: if that cannot be told on this machine.
    """
    return judged(language).canonical(text)


def judged(language: Language) -> SequenceKind:
    """Returns the kind of a language, whose texts can be judged on this machine.

    Raises:
        NotApplicable: saying why they cannot be.
    """
    kind = data.sequence_kind(language.kind)
    if kind is None:
        raise NotApplicable(f"unknown kind of sequences {language.kind!r}")
    if reason := kind.missing():
        raise NotApplicable(reason)
    return kind


def score_of(language: Language) -> Score:
    """Returns the score of the texts of a language.

    Raises:
        NotApplicable: if their kind has no score, or it cannot be computed on this machine.
    """
    kind = judged(language)
    if kind.score is None:
        scored = sorted(
            source.kind.name
            for source in data.SOURCES.values()
            if source.kind and source.kind.score and not source.takes_path
        )
        raise NotApplicable(f"{kind.name} have no score; {' and '.join(scored)} have")
    return kind.score


@once_per_checkpoint
def scorer(trained: TrainedModel) -> Callable[[str], float]:
    """Returns the function that scores texts of a model's language, each once; NaN if invalid.

    Raises:
        NotApplicable: if there is no score.
    """
    language = language_of(trained)
    score = score_of(language)
    try:
        score_valid = score.fit(
            lambda: tracked(f"scoring training {language.kind}", sentences(trained, "train"))
        )
    except (NoScore, ModuleNotFoundError) as reason:
        raise NotApplicable(str(reason)) from reason
    return functools.cache(lambda text: score_valid(text) if is_valid(language, text) else math.nan)


def require_score(kind_name: str) -> None:
    """Checks that sequences of a kind can be judged on this machine.

    Args:
        kind_name: the name of the kind, such as "molecules".

    Raises:
        UsageError: saying what to install, as the rest of a sentence about the evaluation.
    """
    kind = data.sequence_kind(kind_name)
    if kind is not None and (reason := kind.missing()):
        raise UsageError(f"needs a score: {reason}")
